"""Rows of JSON and Parquet files, one at a time, each with the place that a message can name."""

from __future__ import annotations

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
from opid_lightning.envs.search.files.json_rows import read_objects
from opid_lightning.envs.surrogates import clean_members
from opid_lightning.files.json_reading import TOO_DEEP, BadMemberError, is_too_deep
from opid_lightning.files.omissions import Omissions

_JSON = (".jsonl", ".json", ".ndjson")
_EXPECTED = (
    "Expected a .parquet, .jsonl or .json file, the latter two also with "
    f"{', '.join(COMPRESSIONS)} after it: one row an object, one JSON object a line, or a JSON list"
)
_MOST_NAMES = 12  # of fields in a message


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

    @property
    def held(self) -> str:
        """The names of its fields, at most `_MOST_NAMES` of them, for messages."""
        names = list(map(str, self.values))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return f"it holds {', '.join(names[:_MOST_NAMES]) or 'nothing'}{more}"


def read_rows(path: Path, left_out: Omissions) -> Iterator[Row]:
    """All rows, in clean text. Raises ValueError where the file cannot be read so.

    Blank lines are left out, and rows that nest too deeply, which are counted. Lone surrogates
    become U+FFFD, which is counted and reported.
    """
    if not path.is_file():
        found = f"{path} is no file" if path.exists() else f"there is no file {path}"
        raise ValueError(f"{found}. {_EXPECTED}")
    for number, values in clean_members(_shallow(path, left_out), path, "row"):
        if not isinstance(values, dict):
            raise ValueError(f"row {number} of {path} is no JSON object: {values!r:.60}")
        yield Row(values, path, number)


def _shallow(path: Path, left_out: Omissions) -> Iterator[tuple[int, Any]]:
    for number, values in _read(path):
        if values is TOO_DEEP or is_too_deep(values):
            left_out.add(str(TOO_DEEP), f"row {number} of {path}")
        else:
            yield number, values


def _read(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        if path.name.lower().endswith(".parquet"):
            yield from enumerate(_parquet_rows(path), start=1)
        elif plain_name(path).endswith(_JSON):
            with open_plain(path) as file:
                yield from read_objects(file)
        else:
            raise ValueError(f"{path} is neither JSONL nor Parquet by its name. {_EXPECTED}")
    except BadMemberError as error:
        raise ValueError(
            f"row {error.number} of {path} is no JSON: {error}. {_EXPECTED}"
        ) from error
    except (*READ_ERRORS, UnicodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}. {_EXPECTED}") from error


def _parquet_rows(path: Path) -> Iterator[Any]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()
