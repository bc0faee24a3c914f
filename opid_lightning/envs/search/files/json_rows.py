"""Objects of a JSON file, one at a time: one a line, in a list, or in a list inside one object."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from opid_lightning.files.json_reading import (
    TOO_DEEP,
    BadMemberError,
    TooDeepError,
    inner_items,
    is_too_deep,
    list_items,
    read_json,
)

_LISTS = ("data", "questions", "passages", "rows")  # under which an object holds the list


def read_objects(file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    """With the number of its line, or its place in the list. Raises BadMemberError.

    TOO_DEEP stands for one that nests too deeply.
    """
    begin = file.peek().lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin[:1] == b"[":
        yield from enumerate(list_items(file), start=1)
        return
    lines = enumerate(file, start=1)
    first = next(((number, line) for number, line in lines if _is_said(line)), None)
    if first is None:
        return
    listed = _listed(first[1], file)
    if listed is not None:
        yield from enumerate(listed, start=1)
        return
    yield first[0], _parsed(*first)
    yield from ((number, _parsed(number, line)) for number, line in lines if _is_said(line))


def _is_said(line: bytes) -> bool:
    return bool(line.strip(b"\xef\xbb\xbf \t\r\n"))


def _parsed(number: int, line: bytes) -> Any:
    try:
        return read_json(line)
    except TooDeepError:
        return TOO_DEEP
    except ValueError as error:  # of the JSON, or of its encoding
        raise BadMemberError(number, f"{error}. It begins with {line[:60]!r}") from error


def _listed(line: bytes, rest: io.BufferedReader) -> list[Any] | None:
    """The list in a file that is one object, on one line or on many; None where rows follow."""
    is_document = line.strip(b"\xef\xbb\xbf \t\r\n") == b"{"  # so the object goes on
    text = line + rest.read() if is_document else line
    try:
        document: Any = json.loads(text)  # in which each row may nest as deeply as one on a line
    except RecursionError:
        found = list(inner_items(io.BytesIO(text), _LISTS))
        return found or ([TOO_DEEP] if is_document else None)
    except ValueError:
        document = _parsed(1, text) if is_document else None
    rows = _list_in(document) or ([document] if is_document else None)
    return rows and [TOO_DEEP if is_too_deep(row) else row for row in rows]


def _list_in(document: Any) -> list[Any] | None:
    if isinstance(document, dict):
        for key, value in document.items():
            if key.lower() in _LISTS and isinstance(value, list):
                return value
    return None
