"""Rows of JSON and Parquet files, one at a time, each with the place that a message can name."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from opid_lightning.envs.search.files.compressed import (
    COMPRESSIONS,
    READ_ERRORS,
    open_plain,
    plain_name,
)
from opid_lightning.envs.search.files.json_rows import BadRowError, read_objects
from opid_lightning.envs.search.files.surrogates import without_surrogates
from opid_lightning.files.omissions import warn_once

_JSON = (".jsonl", ".json", ".ndjson")
_EXPECTED = (
    "Expected a .parquet, .jsonl or .json file, the latter two also with "
    f"{', '.join(COMPRESSIONS)} after it: one row an object, one JSON object a line, or a JSON list"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One record of a file, with its number for messages."""

    values: Mapping[str, Any]
    path: Path
    number: int  # from 1

    @property
    def place(self) -> str:
        """Where the row is, as messages name it."""
        return f"row {self.number} of {self.path}"


def read_rows(path: Path) -> Iterator[Row]:
    """All rows, in clean text. Raises ValueError where the file cannot be read so.

    Blank lines are left out; lone surrogates become U+FFFD, which is counted and reported.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}. {_EXPECTED}")
    places = []
    for row in _read(path):
        try:
            values = without_surrogates(row.values)
        except RecursionError as error:
            raise ValueError(f"{row.place} is nested too deeply. {_EXPECTED}") from error
        if values != row.values:
            places.append(row.number)
        yield Row(values, path, row.number)
    if places:
        warn_once(
            _log,
            f"{path}: lone surrogates in {len(places):,} rows (such as row {places[0]}) are read "
            "as U+FFFD",
        )


def _read(path: Path) -> Iterator[Row]:
    try:
        if path.name.lower().endswith(".parquet"):
            yield from _parquet_rows(path)
        elif plain_name(path).endswith(_JSON):
            with open_plain(path) as file:
                for number, values in read_objects(file):
                    yield _row(values, path, number)
        else:
            raise ValueError(f"{path} is neither JSONL nor Parquet by its name. {_EXPECTED}")
    except BadRowError as error:
        raise ValueError(
            f"row {error.number} of {path} is no JSON: {error}. {_EXPECTED}"
        ) from error
    except (*READ_ERRORS, UnicodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}. {_EXPECTED}") from error


def _row(values: Any, path: Path, number: int) -> Row:
    if not isinstance(values, dict):
        raise ValueError(f"row {number} of {path} is no JSON object: {values!r:.60}")
    return Row(values, path, number)


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield Row(values, path, number)
