"""The goal of a game as a test of its state.

The formula (and, or, not, imply, exists, forall, =) is spelt out once for the things of the
game: what can never change is decided then, and what is left asks only for facts that can.

    (exists (?o - object) (and (objecttype ?o mugtype) (ishot ?o)))
        ->  ishot mug_1 or ishot mug_2
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from opid_lightning.envs.alfworld.native.problem import PREDICATES, Problem, typed_words
from opid_lightning.envs.alfworld.native.state import FLUENTS, State, Test, test_of

Bindings = Mapping[str, str]  # ?o -> mug_1
_ABSORBING = {"and": False, "or": True}


@dataclass(frozen=True)
class Goal:
    """A test of a state, and which facts it depends on."""

    is_met: Test
    predicates: frozenset[str]  # that it asks for: where none changes, neither does the answer


def read_goal(problem: Problem) -> Goal:
    """Grounds the goal of a problem over its entities."""
    spelt = _Grounding(problem).spell(problem.goal, {})
    return Goal(_test(spelt), frozenset(_words(problem.goal)) & FLUENTS)


@dataclass(frozen=True)
class _Grounding:
    """Spells formulas out as True, False, ("fact", ...), ("and" | "or", parts) or ("not", part)."""

    problem: Problem

    def spell(self, formula: Any, bindings: Bindings) -> Any:
        match formula:
            case ["and" | "or" as word, *parts]:
                return _join(word, (self.spell(part, bindings) for part in parts))
            case ["not", part]:
                spelt = self.spell(part, bindings)
                return not spelt if isinstance(spelt, bool) else ("not", spelt)
            case ["imply", condition, result]:
                return self.spell(["or", ["not", condition], result], bindings)
            case ["exists" | "forall" as word, variables, body]:
                typed = typed_words(variables)
                inner = {name for name, _ in typed}
                outer = {name: thing for name, thing in bindings.items() if name not in inner}
                return self._quantified(word, dict(typed), body, outer)
            case ["=", one, other]:
                return bindings.get(one, one) == bindings.get(other, other)
            case [str() as predicate, *arguments] if predicate in PREDICATES:
                fact = (predicate, *(bindings.get(word, word) for word in arguments))
                return ("fact", fact) if predicate in FLUENTS else fact in self.problem.facts
        raise ValueError(f"its goal holds {formula}, which is no formula of the alfred domain")

    def _quantified(
        self, word: str, variables: dict[str, str], body: Any, bindings: Bindings
    ) -> Any:
        """Takes the variable with the fewest things to try first."""
        if not variables:
            return self.spell(body, bindings)
        needed = list(_needed(body)) if word == "exists" else []
        tries = {
            name: self._tries(name, kind, needed, bindings) for name, kind in variables.items()
        }
        chosen = min(tries, key=lambda name: len(tries[name]))
        rest = {name: kind for name, kind in variables.items() if name != chosen}
        return _join(
            "or" if word == "exists" else "and",
            (self._quantified(word, rest, body, {**bindings, chosen: it}) for it in tries[chosen]),
        )

    def _tries(self, name: str, kind: str, needed: list[list[str]], bindings: Bindings) -> set[str]:
        """The things of a kind, less those of which a needed fact is never true."""
        tries = self._of_kind[kind]
        for predicate, *words in needed:
            arguments = [bindings.get(word, word) for word in words]
            others = [word for word in arguments if word != name]
            is_bound = not any(word.startswith("?") for word in others)
            if is_bound and len(others) == len(arguments) - 1:
                tries = tries & self._things_in[predicate, arguments.index(name), *others]
        return tries

    @cached_property
    def _of_kind(self) -> dict[str, set[str]]:
        kinds: dict[str, set[str]] = defaultdict(set)
        for name, kind in self.problem.types.items():
            kinds[kind].add(name)
        kinds["object"] = set(self.problem.types)  # the type that all others descend from
        return kinds

    @cached_property
    def _things_in(self) -> dict[tuple[str | int, ...], set[str]]:
        """("receptacletype", 0, "cabinettype")  ->  the cabinets"""
        things: dict[tuple[str | int, ...], set[str]] = defaultdict(set)
        for predicate, *words in self.problem.facts:
            for place, word in enumerate(words):
                things[predicate, place, *words[:place], *words[place + 1 :]].add(word)
        return things


def _needed(formula: Any) -> Iterator[list[str]]:
    """The facts without which a formula is not true, of those that never change."""
    match formula:
        case ["and", *parts]:
            for part in parts:
                yield from _needed(part)
        case ["exists", variables, body]:
            inner = {name for name, _ in typed_words(variables)}
            yield from (fact for fact in _needed(body) if not inner & set(fact))
        case [str() as predicate, *_] if predicate in PREDICATES.keys() - FLUENTS:
            yield formula


def _join(word: str, parts: Iterable[Any]) -> Any:
    """`and` or `or` of the parts, as far as they are decided."""
    absorbing = _ABSORBING[word]
    open_parts: dict[Any, None] = {}
    for part in parts:
        if part is absorbing:
            return absorbing
        if isinstance(part, bool):
            continue
        open_parts |= dict.fromkeys(part[1] if part[0] == word else [part])
    if len(open_parts) > 1:
        return word, tuple(open_parts)
    return next(iter(open_parts), not absorbing)


def _test(spelt: Any) -> Test:
    match spelt:
        case bool():
            return lambda state: spelt
        case ("fact", fact):
            return test_of(fact)
        case ("not", part):
            negated = _test(part)
            return lambda state: not negated(state)
        case (word, parts):
            return _junction([_test(part) for part in parts], _ABSORBING[word])
    raise AssertionError(spelt)


def _junction(tests: list[Test], absorbing: bool) -> Test:
    def test(state: State) -> bool:
        for part in tests:  # a loop, as any() over a generator takes twice as long
            if part(state) is absorbing:
                return absorbing
        return not absorbing

    return test


def _words(formula: Any) -> Iterator[str]:
    if isinstance(formula, str):
        yield formula
    else:
        for part in formula:
            yield from _words(part)
