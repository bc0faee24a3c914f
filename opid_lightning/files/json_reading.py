"""JSON that users bring: whole texts, and the members of large files one at a time.

How deep a value may nest is limited here, at one place. Python's own limit depends on what calls
the parser, and code that walks such a value would meet it again.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_DEPTH = 64  # lists and objects inside one another
_LONGEST = 1 << 26  # characters of one member
_CHUNK = 1 << 20  # characters that are read at a time
_UNSURE = 2  # characters behind a number that may belong to it: ".", "e", "e-"
_BOM = "\ufeff"
_BLANKS = re.compile(r"[ \t\r\n]*")
_BLANKS_AND_COMMAS = re.compile(r"[ \t\r\n,]*")
# A lone quote starts a text of which the end has not been read yet.
_NESTING = re.compile(r'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.S)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_DECODER = json.JSONDecoder()


class TooDeepError(ValueError):
    """A value that nests deeper than MAX_DEPTH."""

    def __init__(self) -> None:
        super().__init__(f"it is nested more than {MAX_DEPTH} levels deep")


class TooDeep(str):
    """Stands where a member nests too deeply to be read: no reader takes a text for a record."""


TOO_DEEP = TooDeep(f"nested more than {MAX_DEPTH} levels deep")


class BadMemberError(ValueError):
    """What stands at a member, counted from 1, is no JSON."""

    def __init__(self, number: int, reason: object) -> None:
        super().__init__(str(reason))
        self.number = number


def read_json(text: str | bytes) -> Any:
    """The value of a whole text; raises ValueError, for one that is too deep TooDeepError."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise TooDeepError from error
    if is_too_deep(value):
        raise TooDeepError
    return value


def is_too_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than `MAX_DEPTH` levels deep."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def list_items(file: BinaryIO) -> Iterator[Any]:
    """Of a file that is one list, of which no more than an item and a chunk is held.

    TOO_DEEP stands for an item that nests too deeply. Raises BadMemberError.
    """
    with io.TextIOWrapper(file, encoding="utf-8", errors="surrogatepass") as text:
        members = _Members(text)
        yield from members.items()
        members.check_end()


def object_pairs(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The same for a file that is one object."""
    with io.TextIOWrapper(file, encoding="utf-8", errors="surrogatepass") as text:
        members = _Members(text)
        yield from members.pairs()
        members.check_end()


def inner_items(file: BinaryIO, names: Collection[str]) -> Iterator[Any]:
    """The same for the first list that an object has under one of these names, in lower case."""
    with io.TextIOWrapper(file, encoding="utf-8", errors="surrogatepass") as text:
        members = _Members(text)
        for name in members.names():
            if name.lower() in names and members.begins_list():
                yield from members.items()
                return
            members.value()


class _Members:
    """What is held of a file, and how far it has been read."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self._held, self._at = "", 0
        self._number = 0  # of the member that is read
        self._read_more()
        self._held = self._held.removeprefix(_BOM)

    def items(self) -> Iterator[Any]:
        self._number = 0
        self._expect("[")
        while not self._ends("]"):
            yield self.value()

    def pairs(self) -> Iterator[tuple[str, Any]]:
        for name in self.names():
            yield name, self.value()

    def names(self) -> Iterator[str]:
        """Of an object; whoever is given one reads its value."""
        self._expect("{")
        while not self._ends("}"):
            name = self.value()
            if not isinstance(name, str) or isinstance(name, TooDeep):
                raise self._bad("it has no name in quotes")
            self._expect(":")
            yield name

    def begins_list(self) -> bool:
        return self._next(_BLANKS) == "["

    def check_end(self) -> None:
        if self._next(_BLANKS):
            raise self._bad("more stands behind the end")

    def _expect(self, sign: str) -> None:
        if (found := self._next(_BLANKS)) != sign:
            raise self._bad(f"{found or 'the end'} stands where {sign} was expected")
        self._at += 1

    def _ends(self, closer: str) -> bool:
        """Whether no member follows."""
        self._number += 1
        if self._next(_BLANKS_AND_COMMAS) != closer:
            return False
        self._at += 1
        return True

    def _next(self, skipped: re.Pattern[str]) -> str:
        """The next sign that counts, which is not taken; empty at the end of the file."""
        while True:
            found = skipped.match(self._held, self._at)
            assert found is not None  # it also matches nothing
            self._at = found.end()
            if self._at < len(self._held) or not self._read_more():
                return self._held[self._at : self._at + 1]

    def _read_more(self) -> bool:
        """Whether there is more; a member that is endless is not read to its end."""
        if len(self._held) - self._at > _LONGEST:
            raise self._bad(f"it does not end within {_LONGEST:,} characters")
        try:
            more = self._file.read(max(_CHUNK, len(self._held) - self._at))
        except UnicodeError as error:
            raise self._bad(error) from error
        if more:
            self._held, self._at = self._held[self._at :] + more, 0
        return bool(more)

    def value(self) -> Any:
        self._next(_BLANKS)
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self._at)
            except RecursionError:
                self._skip()
                return TOO_DEEP
            except ValueError as error:  # also where the member has not been read whole
                if _end_in(self._held, self._at).is_there or not self._read_more():
                    begin = self._held[self._at : self._at + 60]
                    raise self._bad(f"{error}. It begins with {begin!r}") from error
                continue
            if len(self._held) - end > _UNSURE or not self._read_more():
                self._at = end
                return TOO_DEEP if is_too_deep(value) else value

    def _skip(self) -> None:
        """A list or object, of which no more than a chunk is held."""
        end = _End(0, self._at, False)
        while not (end := _end_in(self._held, self._at, end.depth)).is_there:
            self._at = end.at
            if not self._read_more():
                raise self._bad("it ends inside a list or an object")
        self._at = end.at

    def _bad(self, reason: object) -> BadMemberError:
        return BadMemberError(max(self._number, 1), reason)


@dataclass(frozen=True)
class _End:
    """Where a list or object ends, or how far it could be followed, and how deep it is there."""

    depth: int
    at: int
    is_there: bool


def _end_in(text: str, at: int, depth: int = 0) -> _End:
    for found in _NESTING.finditer(text, at):
        token = found.group()
        if token == '"':
            break
        depth += _STEPS.get(token, 0)
        at = found.end()
        if token in ("]", "}") and depth <= 0:
            return _End(depth, at, True)
    return _End(depth, at, False)
