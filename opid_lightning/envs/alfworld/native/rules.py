"""Which rules a game file carries. Only the two sets that this engine was written for are played.

`alfworld-download` fetches games whose domain also cleans in a `SinkType`; the alfworld 0.4.2
package ships one that does not, and writes its help text another way. The help reads the same.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256

OTHER_ENGINE = "Set env.engine=textworld to play it on the engine that reads any rules"

_GOAL_START, _GOAL_END = '"Your task is to: ', '"\n'
_PLAIN = re.compile(r'(?:[^;|"<>\[\]#{}]+|"[^;|"<>\[\]#{}]*")*')
_SYMBOLS = ("#", "[", "{")
_BLANKS = re.compile(r"[\t\n]")

_CLEANERS = {  # by hash of the domain: types of receptacle in which things get clean
    "0af55e7f92d12b09": frozenset({"sinktype", "sinkbasintype"}),
    "f1473041ed01da51": frozenset({"sinkbasintype"}),
}
_GRAMMARS = ("10da93e13b58e1a6", "c294eb280206a442")  # hashes of all but the goal


@dataclass(frozen=True)
class Rules:
    """The part of a game file's rules that differs from game to game."""

    goal: str  # the words of the task
    cleaners: frozenset[str]


class UnknownRulesError(ValueError):
    """The game is not one that this engine knows to play."""


def read_rules(domain: str, grammar: str) -> Rules:
    """Raises UnknownRulesError where domain or grammar is not one that alfworld 0.4.2 ships."""
    cleaners = _CLEANERS.get(_digest(domain))
    if cleaners is None:
        raise UnknownRulesError(
            f"its PDDL domain is none that the native engine knows. {OTHER_ENGINE}"
        )
    before, start, rest = grammar.partition(_GOAL_START)
    goal, end, after = rest.partition(_GOAL_END)
    if _digest(before + start + end + after) not in _GRAMMARS:
        raise UnknownRulesError(f"its grammar is none that the native engine knows. {OTHER_ENGINE}")
    return Rules(_goal_words(goal), cleaners)


def _goal_words(written: str) -> str:
    """What textworld's grammar makes of a goal that stands in a JSON text.

    Quotes fall away, and the text ends before a sign that means something to the grammar, or
    would; a goal in which it does mean something is not played here.
    """
    goal: str = json.loads(f'"{written}"')
    read = _PLAIN.match(goal)
    assert read is not None  # it also matches nothing
    text, rest = read.group(), goal[read.end() :]
    if rest.startswith(_SYMBOLS) or ('"' in text and _BLANKS.search(text)):
        raise UnknownRulesError(f"its goal {goal!r} is no plain text. {OTHER_ENGINE}")
    return text.replace('"', "")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
