"""The commands that win a generated game, as few as there can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise, product

from opid_lightning.envs.alfworld.generation.floor_plans import Receptacle
from opid_lightning.envs.alfworld.generation.furnishing import Room, Thing
from opid_lightning.envs.alfworld.generation.goals import Goal
from opid_lightning.envs.alfworld.generation.kinds import LAMP
from opid_lightning.envs.alfworld.generation.problem import pddl_id


@dataclass(frozen=True)
class Errand:
    """Which of the objects to fetch, where to treat them if need be, and where they belong."""

    things: tuple[Thing, ...]
    appliance: Receptacle | None
    target: Receptacle  # the lamp's place, where the object is only looked at

    def effort(self, goal: Goal) -> int:
        """How many commands go to a place or open one; the others are the same for all."""
        stops: list[Receptacle] = []
        for thing in self.things:
            stops += [thing.place, *([self.appliance] if self.appliance else []), self.target]
        reached = {thing.place.id: thing.place for thing in self.things}
        if not goal.is_lit:
            reached[self.target.id] = self.target
        return (
            1
            + sum(here.location != there.location for here, there in pairwise(stops))
            + sum(place.is_openable for place in reached.values())
        )


def walk(room: Room) -> list[str]:
    """Fetches each object, treats it where the goal says so, and brings it where it belongs."""
    walker, goal = _Walker(room), room.goal
    errand = min(_errands(room), key=lambda errand: errand.effort(goal))
    for thing in errand.things:
        walker.fetch(thing)
        if goal.treatment and errand.appliance:
            walker.go(errand.appliance)
            walker.say(f"{goal.treatment.verb} {{}} with {{}}", thing.id, errand.appliance.id)
        if goal.is_lit:
            walker.go(errand.target)
            lamps = (lamp for lamp in room.of_kind(LAMP) if lamp.place == errand.target)
            walker.say("use {}", next(lamps).id)
        else:
            walker.bring(thing, errand.target)
    return walker.commands


def _errands(room: Room) -> Iterator[Errand]:
    plan, goal = room.plan, room.goal
    objects = combinations(room.of_kind(goal.object_kind), goal.num_objects)
    appliances = plan.of_kind(goal.treatment.appliance) if goal.treatment else (None,)
    if goal.is_lit:
        targets = tuple(lamp.place for lamp in room.of_kind(LAMP))
    else:
        targets = plan.of_kind(goal.target_kind)
    return (Errand(*parts) for parts in product(objects, appliances, targets))


class _Walker:
    """Knows where the player stands and what is open, and says commands in the game's names."""

    def __init__(self, room: Room) -> None:
        self.commands: list[str] = []
        self._names = spoken_names(room)
        self._location = room.start
        self._opened: set[str] = set()

    def say(self, command: str, *ids: str) -> None:
        self.commands.append(command.format(*(self._names[name] for name in ids)))

    def go(self, receptacle: Receptacle) -> None:
        """Receptacles side by side share a location, where going is not possible: one is there."""
        if self._location != receptacle.location:
            self.say("go to {}", receptacle.id)
            self._location = receptacle.location

    def fetch(self, thing: Thing) -> None:
        self._reach_into(thing.place)
        self.say("take {} from {}", thing.id, thing.place.id)

    def bring(self, thing: Thing, target: Receptacle) -> None:
        self._reach_into(target)
        self.say("move {} to {}", thing.id, target.id)

    def _reach_into(self, receptacle: Receptacle) -> None:
        self.go(receptacle)
        if receptacle.is_openable and receptacle.id not in self._opened:
            self.say("open {}", receptacle.id)
            self._opened.add(receptacle.id)


def spoken_names(room: Room) -> Mapping[str, str]:
    """`mug 1` for each id, as alfworld's Demangler counts: down to 1, by id in lower case."""
    numbers: Counter[str] = Counter()
    names = {}
    ids = [place.id for place in room.plan.receptacles] + [thing.id for thing in room.things]
    for of in sorted(ids, key=lambda of: pddl_id(of).lower(), reverse=True):
        name = _spoken_kind(of)
        numbers[name] += 1
        names[of] = f"{name} {numbers[name]}"
    return names


def _spoken_kind(entity_id: str) -> str:
    """By its first part, be it a Bathtub|...|SinkBasin: a bathtubbasin, as room 420 has one."""
    name = entity_id.partition("|")[0].lower()
    return f"{name}basin" if "Basin" in entity_id else name
