"""Finds the objects in a text, written as JSON or as Python literals, however sloppily."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Either of these may start or end what a model means as its answer.
LANDMARK = re.compile(r"[\[{]|```|</think>")
SPACE = re.compile(r"[\s\ufeff]*")
MEMBER_START = re.compile(r"[\"']\s*:\s*$")
# Possessive, so that an unterminated string costs one pass and no backtracking.
STRINGS = {quote: re.compile(rf"{quote}((?:[^{quote}\\]++|\\.)*+){quote}", re.S) for quote in "\"'"}
ESCAPE = re.compile(
    r"\\(u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.S
)
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
NUMBER = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|(?:Infinity|NaN)\b)"
)
WORD = re.compile(r"[^\W\d]\w*")
CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
MAX_DEPTH = 32


class UnreadableError(Exception):
    """No value can be read on from here."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(frozen=True)
class ObjectsFound:
    """The outermost objects of a text, those in fenced blocks first."""

    objects: tuple[dict[object, object], ...]
    has_list: bool  # a list of objects stands outermost, too
    is_cut: bool  # the text ended inside an object or list


@dataclass(frozen=True)
class LiteralReader:
    """Reads values at a position of `text`.

    Accepts JSON and Python literals mixed: either quotes, adjacent strings, trailing commas,
    unquoted keys, raw line breaks and unknown escapes in strings, tuples, NaN and Infinity.
    `nested` collects where inner containers start, also those of values that fail later.
    """

    text: str
    nested: set[int] = field(default_factory=set)

    def value(self, at: int, depth: int = 0) -> tuple[object, int]:
        """The value that starts at or after `at`, and the position behind it."""
        at = self.skip_space(at)
        first = self.text[at : at + 1]
        if first and first in "{[(":
            if depth:
                self.nested.add(at)
            if depth >= MAX_DEPTH:
                raise UnreadableError(at)
            return self.members(at, depth) if first == "{" else self.items(at, depth)
        return self.scalar(at)

    def members(self, at: int, depth: int) -> tuple[dict[object, object], int]:
        """The object that starts at `at`, and where it ends; raises UnreadableError."""
        members: dict[object, object] = {}
        at = self.skip_space(at + 1)
        while not self.text.startswith("}", at):
            key, at = self.scalar(at, is_key=True)
            members[key], at = self.value(self.expect(":", at), depth + 1)
            at = self.separator("}", at)
        return members, at + 1

    def items(self, at: int, depth: int) -> tuple[object, int]:
        """The list or tuple that starts at `at`, and where it ends.

        One item in parentheses is itself.
        """
        opener, start = self.text[at], at + 1
        closer = "]" if opener == "[" else ")"
        items: list[object] = []
        at = self.skip_space(start)
        while not self.text.startswith(closer, at):
            item, at = self.value(at, depth + 1)
            items.append(item)
            has_comma = self.text.startswith(",", self.skip_space(at))
            at = self.separator(closer, at)
        if opener == "[":
            return items, at + 1
        is_grouping = len(items) == 1 and not has_comma
        return (items[0] if is_grouping else tuple(items)), at + 1

    def scalar(self, at: int, is_key: bool = False) -> tuple[object, int]:
        """A text, number, constant or bare key at `at`, and where it ends."""
        if self.text[at : at + 1] in STRINGS:
            return self.strings(at)
        if number := NUMBER.match(self.text, at):
            return read_number(number), number.end()
        word = WORD.match(self.text, at)
        if word and (is_key or word.group() in CONSTANTS):
            name = word.group()
            return CONSTANTS.get(name, name), word.end()
        raise UnreadableError(at)

    def strings(self, at: int) -> tuple[str, int]:
        """One string, or several that stand side by side, as Python joins them."""
        parts: list[str] = []
        while pattern := STRINGS.get(self.text[at : at + 1]):
            match = pattern.match(self.text, at)
            if not match:
                raise UnreadableError(len(self.text))
            parts.append(unescape(match.group(1)))
            end, at = match.end(), self.skip_space(match.end())
        return "".join(parts), end

    def separator(self, closer: str, at: int) -> int:
        """The start of the next member, or of the closer, behind an optional comma."""
        at = self.skip_space(at)
        if self.text.startswith(closer, at):
            return at
        return self.skip_space(self.expect(",", at))

    def expect(self, mark: str, at: int) -> int:
        """The position behind `mark`; raises UnreadableError where something else stands there."""
        at = self.skip_space(at)
        if not self.text.startswith(mark, at):
            raise UnreadableError(at)
        return at + 1

    def skip_space(self, at: int) -> int:
        """The position behind blanks and comments."""
        match = SPACE.match(self.text, at)
        assert match is not None, "the pattern matches nothing, too"
        return match.end()


def find_objects(text: str) -> ObjectsFound:
    """All objects that are not part of another object or list, whole or broken.

    What stands before a closing think tag is a draft and is forgotten.
    """
    reader = LiteralReader(text)
    fenced: list[dict[object, object]] = []
    unfenced: list[dict[object, object]] = []
    has_list = is_cut = is_fenced = False
    at = 0
    while landmark := LANDMARK.search(text, at):
        start, at = landmark.span()
        if landmark.group() == "```":
            is_fenced = not is_fenced
        elif landmark.group() == "</think>":
            fenced, unfenced, is_cut = [], [], False
        elif start not in reader.nested:
            try:
                value, at = reader.value(start)
            except UnreadableError as error:
                is_cut = is_cut or error.at >= len(text)
            else:
                if isinstance(value, dict) and not is_member(text, start):
                    (fenced if is_fenced else unfenced).append(value)
                has_list = has_list or is_list_of_objects(value)
    return ObjectsFound((*fenced, *unfenced), has_list, is_cut)


def is_list_of_objects(value: object) -> bool:
    """Whether the value is a list that holds an object."""
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def is_member(text: str, start: int) -> bool:
    """Whether a key stands before this position: it is part of a broken object."""
    return MEMBER_START.search(text, max(0, start - 40), start) is not None


def unescape(body: str) -> str:
    """The body of a quoted text with its escapes resolved."""
    if "\\" in body:
        body = ESCAPE.sub(unescaped, body)
    if any("\ud800" <= character <= "\udfff" for character in body):
        # JSON writes a character beyond 16 bits as two escapes.
        body = body.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return body


def unescaped(match: re.Match[str]) -> str:
    """The character that one escape stands for; unknown escapes stay as written."""
    code = match.group(1)
    if len(code) > 1:
        return chr(int(code[1:], 16))
    if code in "\"'\\/":
        return code
    return ESCAPED.get(code, match.group())


def read_number(match: re.Match[str]) -> int | float:
    """An int or a float; raises UnreadableError where Python reads neither."""
    text = match.group()
    try:
        return int(text) if re.fullmatch(r"[-+]?[0-9_]+", text) else float(text)
    except ValueError:  # a misplaced underscore, or more digits than Python converts
        raise UnreadableError(match.start()) from None
