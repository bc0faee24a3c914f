"""What is true at one moment of a game: the facts that actions can change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from opid_lightning.envs.alfworld.native.problem import Fact

TRAITS = ("opened", "isclean", "ishot", "iscool", "issliced", "istoggled", "ison", "checked")
FLUENTS = frozenset(
    {"atlocation", "objectatlocation", "inreceptacle", "holds", "holdsany", *TRAITS}
)
Test = Callable[["State"], bool]


class State:
    """Mutable; copies of one start share what no action has touched."""

    __slots__ = ("has_full_hands", "held", "inside", "left", "location", "places", "traits")

    location: str  # where the agent stands
    inside: dict[str, tuple[str, ...]]  # receptacle -> its objects, by id, as they are listed
    held: tuple[str, ...]  # by id
    has_full_hands: bool  # a fact of its own: `holdsany`
    places: dict[str, frozenset[str]]  # object -> locations: `objectatlocation`
    traits: dict[str, set[str]]  # `isclean` -> objects
    left: set[tuple[str, str]]  # (object, receptacle) it was taken from: `not_inreceptacle`

    @classmethod
    def at_start(cls, facts: Iterable[Fact]) -> State:
        """The state in which a problem's facts hold."""
        state = cls()
        inside, places = defaultdict(set), defaultdict(set)
        state.traits = {trait: set() for trait in TRAITS}
        state.held, state.has_full_hands, state.left = (), False, set()
        for predicate, *words in facts:
            if predicate in state.traits:
                state.traits[predicate].add(words[0])
            elif predicate == "inreceptacle":
                inside[words[1]].add(words[0])
            elif predicate == "objectatlocation":
                places[words[0]].add(words[1])
            elif predicate == "atlocation":
                state.location = words[1]
            elif predicate == "holds":
                state.held = tuple(sorted((*state.held, words[1])))
            elif predicate == "holdsany":
                state.has_full_hands = True
        state.inside = {place: tuple(sorted(things)) for place, things in inside.items()}
        state.places = {thing: frozenset(where) for thing, where in places.items()}
        return state

    def copy(self) -> State:
        """A state that changes independently of this one."""
        state = State()
        state.location, state.held = self.location, self.held
        state.has_full_hands = self.has_full_hands
        state.inside, state.places = self.inside.copy(), self.places.copy()
        state.traits = {trait: things.copy() for trait, things in self.traits.items()}
        state.left = self.left.copy()
        return state

    def take(self, thing: str, place: str) -> None:
        """Moves a thing from a receptacle into the hand."""
        self.inside[place] = tuple(other for other in self.inside[place] if other != thing)
        self.left.add((thing, place))
        self.held = tuple(sorted({*self.held, thing}))
        self.has_full_hands = True
        if where := self.places.get(thing):
            self.places[thing] = where - {self.location}

    def put(self, thing: str, place: str) -> None:
        """Moves a thing from the hand into a receptacle."""
        self.inside[place] = tuple(sorted({*self.inside.get(place, ()), thing}))
        self.left.discard((thing, place))
        self.places[thing] = self.places.get(thing, frozenset()) | {self.location}
        self.held = tuple(other for other in self.held if other != thing)
        self.has_full_hands = False


def test_of(fact: Fact) -> Test:
    """Whether a fact whose predicate is among FLUENTS is true."""
    match fact:
        case ("atlocation", _, location):
            return lambda state: state.location == location
        case ("inreceptacle", thing, place):
            return lambda state: thing in state.inside.get(place, ())
        case ("objectatlocation", thing, location):
            return lambda state: location in state.places.get(thing, ())
        case ("holds", _, thing):
            return lambda state: thing in state.held
        case ("holdsany", _):
            return lambda state: state.has_full_hands
        case (trait, thing) if trait in TRAITS:
            return lambda state: thing in state.traits[trait]
    raise ValueError(f"its goal asks for {fact}, which is no fact of the alfred domain")
