"""A room with things in it, such that its goal is still to be reached, and can be."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opid_lightning.envs.alfworld.generation.floor_plans import FloorPlan, Receptacle
from opid_lightning.envs.alfworld.generation.goals import Goal
from opid_lightning.envs.alfworld.generation.kinds import LAMP
from opid_lightning.envs.alfworld.generation.statistics import statistics

SPREAD = 0.3  # metres around its receptacle's middle


@dataclass(frozen=True)
class Thing:
    """An object that can be carried, where it lies at the start."""

    id: str  # Mug|+01.36|+00.96|-01.36
    kind: str
    place: Receptacle
    is_cool: bool


@dataclass(frozen=True)
class Room:
    """A furnished room with the goal that can be reached in it."""

    plan: FloorPlan
    goal: Goal
    things: tuple[Thing, ...]
    start: str  # location

    def of_kind(self, kind: str) -> tuple[Thing, ...]:
        """The things of one kind, in the order placed."""
        return tuple(thing for thing in self.things if thing.kind == kind)


def furnish(plan: FloorPlan, goal: Goal, rng: random.Random) -> Room:
    """The kinds that belong to the room, as many of each and in such places as is usual.

    None of the goal's objects starts in the goal's `forbidden_place`, and there are as many as
    it asks for: whatever the draw, the game is not won yet and can be won.
    """
    things = tuple(sorted(_things(plan, goal, rng), key=lambda thing: thing.id))
    return Room(plan, goal, things, rng.choice(plan.free_locations))


def _things(plan: FloorPlan, goal: Goal, rng: random.Random) -> Iterator[Thing]:
    taken: set[str] = set()
    for kind in plan.object_kinds:
        is_asked = kind == goal.object_kind
        places, weights = zip(*plan.place_weights(kind), strict=True)
        if is_asked:
            allowed = [place.kind != goal.forbidden_place for place in places]
            weights = tuple(w * is_free for w, is_free in zip(weights, allowed, strict=True))
        for place in rng.choices(places, weights, k=_count(plan, kind, goal, rng)):
            thing_id = _draw_id(kind, place, rng)
            while thing_id in taken:
                thing_id = _draw_id(kind, place, rng)
            taken.add(thing_id)
            # Of what starts in a fridge, the released games call cool what the goal is about.
            yield Thing(thing_id, kind, place, is_asked and place.kind == "Fridge")


def _count(plan: FloorPlan, kind: str, goal: Goal, rng: random.Random) -> int:
    if kind == goal.object_kind:
        return _draw_number(statistics().goal_copies[goal.task_type], rng)
    number = _draw_number(statistics().copies[plan.room_type][kind], rng)
    return max(1, number) if goal.is_lit and kind == LAMP else number


def _draw_number(games: Sequence[int], rng: random.Random) -> int:
    """`games` counts those that had 0, 1, 2 ..."""
    return rng.choices(range(len(games)), games)[0]


def _draw_id(kind: str, place: Receptacle, rng: random.Random) -> str:
    x, y, z = place.position
    x, z = x + rng.uniform(-SPREAD, SPREAD), z + rng.uniform(-SPREAD, SPREAD)
    return f"{kind}|{x:+06.2f}|{y + 0.05:+06.2f}|{z:+06.2f}"
