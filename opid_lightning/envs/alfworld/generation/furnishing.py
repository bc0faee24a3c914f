"""A room with things in it, such that its goal is still to be reached, and can be."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from opid_lightning.envs.alfworld.generation.floor_plans import LAMP, FloorPlan, Receptacle
from opid_lightning.envs.alfworld.generation.goals import Goal

MAX_OF_A_KIND = 2
SPREAD = 0.3  # metres around its receptacle's middle


@dataclass(frozen=True)
class Thing:
    id: str  # Mug|+01.36|+00.96|-01.36
    kind: str
    place: Receptacle


@dataclass(frozen=True)
class Room:
    plan: FloorPlan
    goal: Goal
    things: tuple[Thing, ...]
    start: str  # location

    def of_kind(self, kind: str) -> tuple[Thing, ...]:
        return tuple(thing for thing in self.things if thing.kind == kind)

    def receptacle(self, kind: str) -> Receptacle:
        return next(place for place in self.plan.receptacles if place.kind == kind)


def furnish(plan: FloorPlan, goal: Goal, rng: random.Random) -> Room:
    """Every kind that belongs to the room, in places that can hold it.

    None of the goal's objects starts in a receptacle of the goal's kind, and there are as many
    as it asks for: whatever the draw, the game is not won yet and can be won.
    """
    things = tuple(sorted(_things(plan, goal, rng), key=lambda thing: thing.id))
    return Room(plan, goal, things, rng.choice(plan.free_locations))


def _things(plan: FloorPlan, goal: Goal, rng: random.Random) -> Iterator[Thing]:
    taken: set[str] = set()
    for kind in (*plan.object_kinds, *([LAMP] if plan.has_lamp else [])):
        for _ in range(_count(kind, goal, rng)):
            place = _place(plan, kind, goal, rng)
            thing_id = _draw_id(kind, place, rng)
            while thing_id in taken:
                thing_id = _draw_id(kind, place, rng)
            taken.add(thing_id)
            yield Thing(thing_id, kind, place)


def _count(kind: str, goal: Goal, rng: random.Random) -> int:
    if kind == LAMP:
        return 1
    least = goal.num_objects if kind == goal.object_kind else 1
    return rng.randint(least, max(least, MAX_OF_A_KIND))


def _place(plan: FloorPlan, kind: str, goal: Goal, rng: random.Random) -> Receptacle:
    """The kind of place is drawn first, so that twenty drawers do not swallow everything."""
    kinds = plan.places_of(kind)
    if kind == goal.object_kind:
        kinds = tuple(place for place in kinds if place != goal.target_kind)
    chosen = rng.choice(kinds)
    return rng.choice([place for place in plan.receptacles if place.kind == chosen])


def _draw_id(kind: str, place: Receptacle, rng: random.Random) -> str:
    x, y, z = place.position
    x, z = x + rng.uniform(-SPREAD, SPREAD), z + rng.uniform(-SPREAD, SPREAD)
    return f"{kind}|{x:+06.2f}|{y + 0.05:+06.2f}|{z:+06.2f}"
