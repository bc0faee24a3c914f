"""Objects of a JSON file, one at a time: one a line, in a list, or in a list inside one object."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

_CHUNK = 1 << 20  # characters
_SEPARATORS = frozenset(" \t\r\n,")
_LISTS = ("data", "questions", "passages", "rows")  # under which an object holds the list


class BadRowError(Exception):
    """What stands at a row, counted from 1, is no JSON."""

    def __init__(self, number: int, reason: object) -> None:
        super().__init__(str(reason))
        self.number = number


def read_objects(file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    """With the number of its line, or its place in the list. Raises BadRowError."""
    begin = file.peek().lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin[:1] == b"[":
        with io.TextIOWrapper(file, encoding="utf-8", errors="surrogatepass") as text:
            yield from _items(text)
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
        return json.loads(line)
    except (ValueError, RecursionError) as error:  # of the JSON, or of its encoding
        raise BadRowError(number, f"{error}. It begins with {line[:60]!r}") from error


def _listed(line: bytes, rest: io.BufferedReader) -> list[Any] | None:
    """The list in a file that is one object, on one line or on many; None where rows follow."""
    if line.strip(b"\xef\xbb\xbf \t\r\n") == b"{":  # so the object goes on
        document = _parsed(1, line + rest.read())
        return _list_in(document) or [document]
    try:
        return _list_in(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _list_in(document: Any) -> list[Any] | None:
    if isinstance(document, dict):
        for key, value in document.items():
            if key.lower() in _LISTS and isinstance(value, list):
                return value
    return None


def _items(file: io.TextIOWrapper) -> Iterator[tuple[int, Any]]:
    """Of a list, of which no more than an item and a chunk is held."""
    decoder, number = json.JSONDecoder(), 1
    text = file.read(_CHUNK)
    place = text.index("[") + 1
    while True:
        while text[place : place + 1] in _SEPARATORS:
            place += 1
        if text.startswith("]", place):
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            text, place = text[place:], 0
            if not (more := file.read(max(_CHUNK, len(text)))):
                said = f"{error}. It begins with {text[:60]!r}"
                raise BadRowError(number, said) from error
            text += more
            continue
        yield number, value
        number += 1
