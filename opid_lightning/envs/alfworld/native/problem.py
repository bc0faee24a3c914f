"""Reads a PDDL problem of the alfred domain: entities, facts and goal, all in lower case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from sys import intern
from typing import Any

Fact = tuple[str, ...]  # inreceptacle, mug_bar_1, shelf_bar_2

# The types of each predicate's arguments. Actions also mark agents, locations and objects as
# checked, so that one takes anything.
PREDICATES: dict[str, tuple[str, ...] | None] = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "inreceptacle": ("object", "receptacle"),
    "wasinreceptacle": ("object", "receptacle"),
    "inreceptacleobject": ("object", "object"),
    "receptacletype": ("receptacle", "rtype"),
    "objecttype": ("object", "otype"),
    "cancontain": ("rtype", "otype"),
    "holds": ("agent", "object"),
    "holdsany": ("agent",),
    "holdsanyreceptacleobject": ("agent",),
    "examined": ("location",),
    "checked": None,
    **dict.fromkeys(("openable", "opened", "full"), ("receptacle",)),
    **dict.fromkeys(("cleanable", "heatable", "coolable", "sliceable"), ("object",)),
    **dict.fromkeys(("isclean", "ishot", "iscool", "issliced"), ("object",)),
    **dict.fromkeys(("toggleable", "istoggled", "ison"), ("object",)),
    **dict.fromkeys(("pickupable", "moveable"), ("object",)),
    **dict.fromkeys(("isreceptacleobject", "isreceptacleobjectfull"), ("object",)),
}
TYPES = frozenset({"agent", "location", "receptacle", "object", "rtype", "otype"})

_COMMENT = re.compile(r";[^\n]*")
_TOKEN = re.compile(r"[()]|\?[^\s()?]*|[^\s()?]+")


@dataclass(frozen=True)
class Problem:
    """A PDDL problem as read: typed entities, facts and a goal."""

    types: dict[str, str]  # of every declared entity
    facts: frozenset[Fact]  # true at the start
    goal: Any  # nested lists of words

    def all(self, predicate: str) -> list[Fact]:
        """The arguments of its facts, in order."""
        return sorted(fact[1:] for fact in self.facts if fact[0] == predicate)

    def pairs(self, predicate: str) -> list[tuple[str, str]]:
        """The arguments of a predicate that takes two, in order."""
        return [(one, other) for one, other in self.all(predicate)]


def read_problem(text: str) -> Problem:
    """Raises ValueError where the text is not a problem of the domain alfred."""
    sections = _sections(_COMMENT.sub("", text).lower())
    if sections[":domain"] != ["alfred"]:
        raise ValueError(f"its problem is of the domain {sections[':domain']}, expected alfred")
    types = dict(_typed(sections[":objects"]))
    facts = frozenset(_facts(sections[":init"]))
    for fact in facts:
        _check(fact, types)
    (goal,) = sections[":goal"]
    return Problem(types, facts, goal)


def _sections(text: str) -> dict[str, list[Any]]:
    if not text.isascii():
        raise ValueError("its problem has characters beyond ASCII")
    read = _nested(text)
    if len(read) != 1 or not isinstance(read[0], list) or read[0][:1] != ["define"]:
        raise ValueError("its problem is not one (define ...)")
    sections = {section[0]: section[1:] for section in read[0][1:]}
    needed = {"problem", ":domain", ":objects", ":init", ":goal"}
    if missing := sorted(needed - sections.keys()):
        raise ValueError(f"its problem lacks {', '.join(missing)}")
    if unknown := sorted(sections.keys() - needed - {":requirements", ":metric"}):
        raise ValueError(f"its problem has the unknown parts {', '.join(unknown)}")
    return sections


def _nested(text: str) -> list[Any]:
    """(a (b c) d)  ->  [[a, [b, c], d]]"""
    open_lists: list[list[Any]] = [[]]
    for token in _TOKEN.findall(text):
        if token == "(":
            inner: list[Any] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
        elif token == ")":
            open_lists.pop()
            if not open_lists:
                raise ValueError("its problem has a ) too many")
        else:
            open_lists[-1].append(intern(token))
    if len(open_lists) != 1:
        raise ValueError("its problem lacks a )")
    return open_lists[0]


def typed_words(words: list[str]) -> list[tuple[str, str]]:
    """a b - object c - agent  ->  (a, object), (b, object), (c, agent)"""
    typed: list[tuple[str, str]] = []
    waiting: list[str] = []
    at = iter(words)
    for word in at:
        if word == "-":
            kind = next(at)
            typed += ((name, kind) for name in waiting)
            waiting = []
        else:
            waiting.append(word)
    typed += ((name, "object") for name in waiting)
    if unknown := sorted({kind for _, kind in typed} - TYPES):
        raise ValueError(f"its problem has the unknown types {', '.join(unknown)}")
    return typed


def _typed(words: list[str]) -> list[tuple[str, str]]:
    typed = typed_words(words)
    if len({name for name, _ in typed}) < len(typed):
        raise ValueError("its problem declares an entity twice")
    return typed


def _facts(section: list[list[Any]]) -> list[Fact]:
    """Facts that are said to be false are false anyway."""
    return [tuple(fact) for fact in section if fact[0] != "not"]


def _check(fact: Fact, types: dict[str, str]) -> None:
    predicate, *arguments = fact
    if predicate not in PREDICATES:
        raise ValueError(f"its fact {fact} is none of the alfred domain")
    expected = PREDICATES[predicate]
    found = tuple(types.get(argument, "nothing declared") for argument in arguments)
    if found != expected and not (expected is None and len(found) == 1):
        raise ValueError(f"its fact {fact} is about {found}, expected {expected}")
