"""Objects of a JSON file, one at a time: one a line, in a list, or in a list inside one object."""

from __future__ import annotations

import io
import itertools
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
_OF_A_ROW = ("question", "contents", "text")  # what holds one of these is no such object
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_objects(file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    """With the number of its line, or its place in the list. Raises BadMemberError.

    TOO_DEEP stands for one that nests too deeply.
    """
    begin = file.peek().lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(_UTF_16):
        raise BadMemberError(1, "the file is in UTF-16, expected UTF-8")
    if begin[:1] == b"[":
        yield from enumerate(list_items(file), start=1)
        return
    lines = ((number, line) for number, line in enumerate(file, start=1) if _is_said(line))
    first = next(lines, None)
    if first is None:
        return
    goes_on = first[1].strip(b"\xef\xbb\xbf \t\r\n") == b"{"
    second = None if goes_on else next(lines, None)
    if second is None:
        yield from enumerate(_rows_of(first[1] + file.read()), start=1)
        return
    for number, line in itertools.chain([first, second], lines):
        yield number, _parsed(number, line)


def _rows_of(text: bytes) -> list[Any]:
    """Those of a file that is one object: of the list in it, or the object itself."""
    try:
        document: Any = json.loads(text)  # in which each row may nest as deeply as one on a line
    except RecursionError:
        return list(inner_items(io.BytesIO(text), _LISTS)) or [TOO_DEEP]
    except ValueError:
        return [_parsed(1, text)]
    rows = _list_in(document)
    rows = [document] if rows is None else rows
    return [TOO_DEEP if is_too_deep(row) else row for row in rows]


def _is_said(line: bytes) -> bool:
    return bool(line.strip(b"\xef\xbb\xbf \t\r\n"))


def _parsed(number: int, line: bytes) -> Any:
    try:
        return read_json(line)
    except TooDeepError:
        return TOO_DEEP
    except ValueError as error:  # of the JSON, or of its encoding
        raise BadMemberError(number, f"{error}. It begins with {line[:60]!r}") from error


def _list_in(document: Any) -> list[Any] | None:
    """None where the document is a row itself, whatever lists it holds."""
    if not isinstance(document, dict) or any(key.lower() in _OF_A_ROW for key in document):
        return None
    for key, value in document.items():
        if key.lower() in _LISTS and isinstance(value, list):
            return value
    return None
