"""An expert that plays by what it has seen: it searches, as an agent has to.

It knows what the task asks for, and in which kinds of receptacle such objects usually lie; where
they lie in this room it finds out by looking.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opid_lightning.envs.alfworld.games import read_game
from opid_lightning.envs.alfworld.generation import kinds
from opid_lightning.envs.alfworld.generation.goals import TREATMENTS, Treatment
from opid_lightning.types import Observation, Task

LAMP = kinds.LAMP.lower()

_CONTENTS = re.compile(r"(?:On|In) (?:the (\w+ \d+)|it), you see ([^.]*)\.")
_THING = re.compile(r"\ban? (\w+ \d+)")
_PLACED = re.compile(r"\(inreceptacle (\w+?)_bar_\S+ (\S+)\)", re.IGNORECASE)
_STANDING = re.compile(r"\(receptacletype (\S+) (\w+)type\)", re.IGNORECASE)


@dataclass(frozen=True)
class Decision:
    """What to do next, and in a few words why: which thing, and what is to be done with it.

    The thing comes first: once it is said, whether and where it was seen is easy to look up.
    """

    thought: str
    command: str


@dataclass(frozen=True)
class Placements:
    """How often a receptacle of a kind holds an object of a kind, over many games."""

    rates: Mapping[tuple[str, str], float]  # by object kind and receptacle kind

    def rate(self, object_kind: str, receptacle_kind: str) -> float:
        """How often an object of this kind lay in such a receptacle; 0 where it never did."""
        return self.rates.get((object_kind, receptacle_kind), 0.0)


def count_placements(tasks: Iterable[Task]) -> Placements:
    """Counts where the objects of these games start."""
    held: Counter[tuple[str, str]] = Counter()
    standing: Counter[str] = Counter()
    for task in tasks:
        problem = read_game(Path(task.payload))["pddl_problem"]
        kind_at = {place: kind.lower() for place, kind in _STANDING.findall(problem)}
        standing.update(kind_at.values())
        pairs = {(thing.lower(), place) for thing, place in _PLACED.findall(problem)}
        held.update((thing, kind_at[place]) for thing, place in pairs if place in kind_at)
    return Placements({pair: count / standing[pair[1]] for pair, count in held.items()})


@dataclass
class SearchingExpert:
    """Plays one episode: tell it each observation, ask it for each decision."""

    kind: str  # task type
    object_kind: str
    target_kind: str  # receptacle, or lamp
    placements: Placements
    rng: random.Random
    sharpness: float = 1.0  # of the search: receptacles are drawn by rate ** sharpness

    places: list[str] = field(default_factory=list)
    contents: dict[str, list[str]] = field(default_factory=dict)  # of receptacles seen inside
    closed: set[str] = field(default_factory=set)
    here: str | None = None
    held: str | None = None
    is_treated: bool = False
    commands: Sequence[str] = ()

    @classmethod
    def of(
        cls, task: Task, placements: Placements, rng: random.Random, sharpness: float = 1.0
    ) -> SearchingExpert:
        """For a released or generated game: its folder's name says what is asked for."""
        _, thing, _, target, _ = Path(task.payload).parent.parent.name.split("-")
        return cls(task.kind, thing.lower(), target.lower(), placements, rng, sharpness)

    @property
    def has_what_it_needs(self) -> bool:
        """Whether its goal makes sense in this room; lamps are not receptacles and turn up."""
        needed = {self.target_kind} - {LAMP}
        if self.kind in TREATMENTS:
            needed.add(TREATMENTS[self.kind].appliance.lower())
        return needed <= {kind_of(place) for place in self.places}

    def see(self, command: str | None, observation: Observation) -> None:
        """The first observation comes without a command."""
        self.commands = observation.admissible
        if command is None:
            self.places = _THING.findall(observation.text.partition("you see")[2])
        elif observation.text != "Nothing happens.":
            self._follow(command)
        self._look(observation.text)

    def decide(self) -> Decision:
        """The next command, with the thought behind it, from what was seen so far."""
        if self.held and kind_of(self.held) != self.object_kind:
            return self._put_away(self.held)
        if self.held is None:
            return self._fetch()
        if self.kind in TREATMENTS and not self.is_treated:
            return self._treat(self.held, TREATMENTS[self.kind])
        return self._use_lamp() if self.target_kind == LAMP else self._bring(self.held)

    # ---------------------------------------------------------------- what is known

    def _follow(self, command: str) -> None:
        words = command.split()
        match words[0]:
            case "go":
                self.here = " ".join(words[2:])
            case "examine" if words[1:] and " ".join(words[1:]) in self.places:
                self.here = " ".join(words[1:])
            case "take":
                self.held, self.is_treated = " ".join(words[1:3]), False
                self._remove(self.held)
            case "move":
                self.contents.setdefault(" ".join(words[4:]), []).append(" ".join(words[1:3]))
                self.held = None
            case "heat" | "cool" | "clean":
                self.is_treated = self.kind.startswith(f"pick_{words[0]}")
            case "open":
                self.closed.discard(" ".join(words[1:]))
            case "close":
                self.closed.add(" ".join(words[1:]))

    def _remove(self, thing: str) -> None:
        for things in self.contents.values():
            if thing in things:
                things.remove(thing)

    def _look(self, text: str) -> None:
        if closed := re.search(r"The (\w+ \d+) is closed\.", text):
            self.closed.add(closed[1])
        opened = re.search(r"The (\w+ \d+) is open\.", text)
        for place, things in _CONTENTS.findall(text):
            name = place or (opened[1] if opened else None)
            if name in self.places:
                self.contents[name] = _THING.findall(things)

    def _known(self, kind: str) -> str | None:
        """A receptacle that holds such a thing which still has to be moved; here, if possible."""
        found = [
            place
            for place, things in self.contents.items()
            if any(kind_of(thing) == kind for thing in things)
            and (kind == LAMP or kind_of(place) != self.target_kind)
        ]
        return self.here if self.here in found else (found[0] if found else None)

    # ---------------------------------------------------------------- what is done

    def _fetch(self) -> Decision:
        place = self._known(self.object_kind)
        if place is None:
            return self._search(self.object_kind)
        thing = next(t for t in self.contents[place] if kind_of(t) == self.object_kind)
        return self._at(place, f"the {thing}: take", f"take {thing} from {place}")

    def _treat(self, thing: str, treatment: Treatment) -> Decision:
        verb, place = treatment.verb, self._nearest(treatment.appliance.lower())
        return self._at(place, f"the {thing}: {verb}", f"{verb} {thing} with {place}")

    def _bring(self, thing: str) -> Decision:
        place = self._nearest(self.target_kind)
        thought = f"the {thing}: bring to {self.target_kind}"
        if self.here == place and place in self.closed:
            return Decision(thought, f"open {place}")
        return self._at(place, thought, f"move {thing} to {place}")

    def _use_lamp(self) -> Decision:
        place = self._known(LAMP)
        if place is None:
            return self._search(LAMP)
        lamp = next(thing for thing in self.contents[place] if kind_of(thing) == LAMP)
        return self._at(place, f"the {lamp}: use", f"use {lamp}")

    def _put_away(self, thing: str) -> Decision:
        thought = f"the {thing}: put away"
        if found := [c for c in self.commands if c.startswith(f"move {thing} to ")]:
            return Decision(thought, found[0])
        openings = [command for command in self.commands if command.startswith("open ")]
        return Decision(thought, openings[0]) if openings else self._go(thought, self.places[-1])

    def _search(self, kind: str) -> Decision:
        thought = f"the {kind}: find"
        if self.here in self.closed:
            return Decision(thought, f"open {self.here}")
        groups: dict[str, list[str]] = defaultdict(list)
        for place in self.places:
            if place not in self.contents:
                groups[kind_of(place)].append(place)
        if not groups:  # seen everything: what is looked for was moved, or lies where it belongs
            return self._go(thought, self.rng.choice(self.places))
        weights = [(self.placements.rate(kind, g) + 1e-4) ** self.sharpness for g in groups]
        chosen = self.rng.choices(list(groups), weights)[0]
        return self._go(thought, min(groups[chosen], key=number_of))

    def _at(self, place: str, thought: str, command: str) -> Decision:
        """Goes there first, where the command is not possible from here."""
        if command in self.commands:
            return Decision(thought, command)
        return self._go(thought, place)

    def _go(self, thought: str, place: str) -> Decision:
        """Or turns to it, where it is within reach already."""
        command = f"go to {place}"
        return Decision(thought, command if command in self.commands else f"examine {place}")

    def _nearest(self, kind: str) -> str:
        """The one here, or the first of its kind."""
        if self.here and kind_of(self.here) == kind:
            return self.here
        return min((place for place in self.places if kind_of(place) == kind), key=number_of)


def kind_of(name: str) -> str:
    """The kind of a numbered thing: "mug 2" is a "mug"."""
    return name.split()[0]


def number_of(name: str) -> int:
    """The number of a numbered thing: "mug 2" has 2."""
    return int(name.split()[1])
