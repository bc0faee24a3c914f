"""The 120 rooms: which receptacles stand where, and what kinds of objects belong in them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from opid_lightning.envs.alfworld.generation.kinds import (
    can_be_carried,
    can_be_opened,
    can_hold,
    constants,
)
from opid_lightning.envs.alfworld.generation.statistics import statistics
from opid_lightning.envs.alfworld.stock import shipped

GRID = 0.25  # metres between the points on which an agent stands
ROOM_TYPES = {0: "Kitchen", 2: "LivingRoom", 3: "Bedroom", 4: "Bathroom"}  # by hundreds

# The rooms that ALFRED keeps for its unseen splits: no released training game plays in one.
# The released valid_unseen games play in 10, 219, 308 and 424.
HELD_OUT = (9, 10, 29, 215, 219, 226, 308, 315, 325, 404, 424, 425)

# Stove burners are reached two from one spot; what else a floor plan does not place, one.
_FROM_ONE_SPOT = {"StoveBurner": 2}

_Point = tuple[float, float]


@dataclass(frozen=True)
class Receptacle:
    """A place that holds things, where it is in the room."""

    id: str  # as ALFRED names it: Cabinet|+00.41|+00.48|+00.45
    kind: str
    location: str  # where one stands to reach it: loc|x|z|quarter turns|degrees down
    is_openable: bool

    @cached_property
    def position(self) -> tuple[float, float, float]:
        """x, y and z in metres, as its id states them."""
        x, y, z = (float(part) for part in self.id.split("|")[1:4])
        return x, y, z


@dataclass(frozen=True)
class FloorPlan:
    """A room of AI2-THOR: its receptacles and where an agent can stand."""

    number: int
    receptacles: tuple[Receptacle, ...]
    free_locations: tuple[str, ...]  # nothing is in reach of these

    @property
    def name(self) -> str:
        """As AI2-THOR calls it, such as FloorPlan12."""
        return f"FloorPlan{self.number}"

    @property
    def room_type(self) -> str:
        """Kitchen, living room, bedroom or bathroom, by its number."""
        return room_type(self.number)

    @cached_property
    def receptacle_kinds(self) -> frozenset[str]:
        """The kinds of receptacles that stand in the room."""
        return frozenset(receptacle.kind for receptacle in self.receptacles)

    @cached_property
    def object_kinds(self) -> tuple[str, ...]:
        """That belong to the room, and have a place in it."""
        known = statistics().copies[self.room_type]
        return tuple(k for k in listed_kinds(self.number) if k in known and self.place_weights(k))

    def of_kind(self, receptacle_kind: str) -> tuple[Receptacle, ...]:
        """The room's receptacles of one kind, by id."""
        return tuple(place for place in self.receptacles if place.kind == receptacle_kind)

    def targets_of(self, object_kind: str) -> tuple[str, ...]:
        """The kinds of receptacle here in which such an object can be put."""
        if not can_be_carried(object_kind):
            return ()
        return tuple(sorted(kind for kind in self.receptacle_kinds if can_hold(kind, object_kind)))

    def place_weights(self, object_kind: str) -> tuple[tuple[Receptacle, int], ...]:
        """Where such an object may lie, and how likely. As likely everywhere if none is known."""
        return _place_weights(self.number, object_kind)


@cache
def _place_weights(number: int, object_kind: str) -> tuple[tuple[Receptacle, int], ...]:
    plan = floor_plan(number)
    known = statistics().preferences[plan.room_type].get(object_kind, {})
    weighted = tuple((p, known[p.kind]) for p in plan.receptacles if p.kind in known)
    return weighted or tuple((p, 1) for p in plan.receptacles if can_hold(p.kind, object_kind))


def room_type(number: int) -> str:
    """The type of a room by the hundreds of its number, as AI2-THOR numbers them."""
    return ROOM_TYPES[number // 100]


def plan_numbers(is_unseen: bool) -> tuple[int, ...]:
    """The rooms of training games, or those that are held out for valid_unseen."""
    if is_unseen:
        return HELD_OUT
    numbers = sorted((*constants().TRAIN_SCENE_NUMBERS, *constants().TEST_SCENE_NUMBERS))
    return tuple(number for number in numbers if number not in HELD_OUT)


@cache
def floor_plan(number: int) -> FloorPlan:
    """The room with this number, read from the files of the alfworld package."""
    placed = placed_receptacles(number)
    points = _free_points(number, placed)
    standing = _standing(number, points)
    receptacles = tuple(sorted((*placed, *standing), key=lambda receptacle: receptacle.id))
    return FloorPlan(number, receptacles, tuple(_location(x, z, 0, 30) for x, z in points))


@cache
def listed_kinds(number: int) -> tuple[str, ...]:
    """The kinds of objects and receptacles that the room has."""
    path = shipped("gen/layouts") / f"FloorPlan{number}-objects.json"
    return tuple(sorted(json.loads(path.read_text())))


@cache
def placed_receptacles(number: int) -> tuple[Receptacle, ...]:
    """Those of which alfworld says where one stands to reach them."""
    path = shipped("gen/layouts") / f"FloorPlan{number}-openable.json"
    poses: dict[str, list[float]] = json.loads(path.read_text())
    return tuple(
        _receptacle(name, _location(x, z, rotation // 90, horizon))
        for name, (x, z, rotation, horizon) in sorted(poses.items())
    )


def _receptacle(name: str, location: str) -> Receptacle:
    kind = _kind(name)
    return Receptacle(name, kind, location, can_be_opened(kind))


def _free_points(number: int, placed: tuple[Receptacle, ...]) -> list[_Point]:
    """The points from which nothing can be reached, in an order of the room's own."""
    grid = np.load(shipped("gen/layouts") / f"FloorPlan{number}-layout.npy")
    points = [(float(x), float(z)) for x, z in grid]
    random.Random(f"floor plan {number}").shuffle(points)
    taken = {tuple(receptacle.location.split("|")[1:3]) for receptacle in placed}
    return [(x, z) for x, z in points if tuple(_location(x, z, 0, 0).split("|")[1:3]) not in taken]


def _standing(number: int, points: list[_Point]) -> Iterator[Receptacle]:
    """The receptacles that nobody places, at points that are then no longer free.

    As in the released games, none of them opens, be it a cabinet.
    """
    for kind, count in _standing_counts(number).items():
        x, z = 0.0, 0.0
        for index in range(count):
            nth = index % _FROM_ONE_SPOT.get(kind, 1)
            x, z = (x, z) if nth else points.pop()
            yield Receptacle(
                _standing_id(kind, x + 0.2 * nth, z),
                kind,
                _location(x, z, 0, 60),
                is_openable=False,
            )


def _standing_id(kind: str, x: float, z: float) -> str:
    """A basin is a part of what it is in, as far as its name goes."""
    whole, is_part, _ = kind.partition("Basin")
    return f"{whole}|{x:+06.2f}|+00.90|{z:+06.2f}" + (f"|{kind}" if is_part else "")


def _standing_counts(number: int) -> dict[str, int]:
    """As in the released games; in a room without any, as in another room of its type."""
    known = {int(room): row for room, row in statistics().standing.items()}
    if number not in known:
        alike = sorted(room for room in known if room_type(room) == room_type(number))
        row = known[random.Random(f"standing {number}").choice(alike)]
        return {kind: count for kind, count in row.items() if kind in listed_kinds(number)}
    return known[number]


def _kind(receptacle_id: str) -> str:
    """Sink|+00.00|+00.89|-01.44|SinkBasin is a SinkBasin."""
    parts = receptacle_id.split("|")
    return parts[4] if len(parts) > 4 else parts[0]


def _location(x: float, z: float, quarter_turns: float, horizon: float) -> str:
    return f"loc|{round(x / GRID)}|{round(z / GRID)}|{round(quarter_turns)}|{round(horizon)}"
