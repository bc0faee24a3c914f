"""Rows of JSONL and Parquet files, one at a time, each with the place that a message can name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as arrow
import pyarrow.parquet as parquet

LINES, ZIPPED_LINES = (".jsonl", ".json"), (".jsonl.gz", ".json.gz")
_EXPECTED = (
    "Expected a .jsonl, .jsonl.gz or .parquet file: one JSON object a line, or one row an object"
)


@dataclass(frozen=True)
class Row:
    values: Mapping[str, Any]
    path: Path
    number: int  # from 1

    @property
    def place(self) -> str:
        return f"row {self.number} of {self.path}"


def read_rows(path: Path) -> Iterator[Row]:
    """All rows; blank lines are left out. Raises ValueError where the file cannot be read so."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}. {_EXPECTED}")
    try:
        if path.name.endswith(".parquet"):
            yield from _parquet_rows(path)
        elif path.name.endswith(ZIPPED_LINES):
            with gzip.open(path) as lines:
                yield from _lines(lines, path)
        elif path.name.endswith(LINES):
            with path.open("rb") as lines:
                yield from _lines(lines, path)
        else:
            raise ValueError(f"{path} is neither JSONL nor Parquet by its name. {_EXPECTED}")
    except (OSError, EOFError, arrow.ArrowException) as error:
        raise ValueError(f"{path} cannot be read: {error}. {_EXPECTED}") from error


def _lines(file: IO[bytes] | gzip.GzipFile, path: Path) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:  # of the JSON, or of its encoding
            raise ValueError(
                f"row {number} of {path} is no JSON: {error}. {_EXPECTED}. What it holds begins "
                f"with {line[:60]!r}"
            ) from error
        if not isinstance(values, dict):
            raise ValueError(f"row {number} of {path} is no JSON object: {values!r:.60}")
        yield Row(values, path, number)


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield Row(values, path, number)
