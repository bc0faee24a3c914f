"""The 120 rooms: which receptacles stand where, and what kinds of objects belong in them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from opid_lightning.envs.alfworld.stock import import_alfworld, shipped

GRID = 0.25  # metres between the points on which an agent stands
LAMP = "DeskLamp"
LAMP_PLACES = ("Desk", "SideTable", "Dresser", "Shelf")  # where the released games have it

# Receptacles that a floor plan names without saying where they stand, and how many there are.
_UNPLACED = {
    "CoffeeMachine": 1,
    "GarbageCan": 1,
    "HandTowelHolder": 1,
    "LaundryHamper": 1,
    "StoveBurner": 4,
    "Toaster": 1,
    "Toilet": 1,
    "ToiletPaperHanger": 1,
    "TowelHolder": 1,
}


@dataclass(frozen=True)
class Receptacle:
    id: str  # as ALFRED names it: Cabinet|+00.41|+00.48|+00.45
    kind: str
    location: str  # where one stands to reach it: loc|x|z|quarter turns|degrees down

    @property
    def position(self) -> tuple[float, float, float]:
        x, y, z = (float(part) for part in self.id.split("|")[1:4])
        return x, y, z


@dataclass(frozen=True)
class FloorPlan:
    number: int
    receptacles: tuple[Receptacle, ...]
    object_kinds: tuple[str, ...]  # that can be carried and have a place here
    has_lamp: bool
    free_locations: tuple[str, ...]  # nothing is in reach of these

    @property
    def name(self) -> str:
        return f"FloorPlan{self.number}"

    @property
    def receptacle_kinds(self) -> frozenset[str]:
        return frozenset(receptacle.kind for receptacle in self.receptacles)

    def places_of(self, object_kind: str) -> tuple[str, ...]:
        """The kinds of receptacle here that can hold such an object."""
        return tuple(sorted(kind for kind in self.receptacle_kinds if can_hold(kind, object_kind)))


def can_hold(receptacle_kind: str, object_kind: str) -> bool:
    if object_kind == LAMP:
        return receptacle_kind in LAMP_PLACES
    return object_kind in _constants().VAL_RECEPTACLE_OBJECTS.get(receptacle_kind, ())


def is_openable(receptacle_kind: str) -> bool:
    return receptacle_kind in _constants().OPENABLE_CLASS_SET


def has_ability(object_kind: str, ability: str) -> bool:
    """`ability` is Heatable, Coolable, Cleanable or Sliceable."""
    return object_kind in _constants().VAL_ACTION_OBJECTS[ability]


def is_container(object_kind: str) -> bool:
    return object_kind in _constants().MOVABLE_RECEPTACLES_SET


def plan_numbers(is_unseen: bool) -> tuple[int, ...]:
    """ALFRED's split of the rooms: the first six of each type of room are held out."""
    constants = _constants()
    return tuple(constants.TEST_SCENE_NUMBERS if is_unseen else constants.TRAIN_SCENE_NUMBERS)


@cache
def floor_plan(number: int) -> FloorPlan:
    folder = shipped("gen/layouts")
    kinds = sorted(json.loads((folder / f"FloorPlan{number}-objects.json").read_text()))
    placed = _placed(folder / f"FloorPlan{number}-openable.json")
    grid = np.load(folder / f"FloorPlan{number}-layout.npy")
    points = [(float(x), float(z)) for x, z in grid]
    random.Random(f"floor plan {number}").shuffle(points)
    points = _free(points, placed)
    placed_kinds = {receptacle.kind for receptacle in placed}
    for kind in (kind for kind in kinds if kind in _UNPLACED and kind not in placed_kinds):
        placed += _stand(kind, *points.pop())
    receptacles = tuple(sorted(placed, key=lambda receptacle: receptacle.id))
    held = {receptacle.kind for receptacle in receptacles}
    return FloorPlan(
        number,
        receptacles,
        tuple(k for k in kinds if k != LAMP and any(can_hold(place, k) for place in held)),
        has_lamp=LAMP in kinds and not held.isdisjoint(LAMP_PLACES),
        free_locations=tuple(_location(x, z, 0, 30) for x, z in points),
    )


def _placed(path: Path) -> list[Receptacle]:
    poses: dict[str, list[float]] = json.loads(path.read_text())
    return [
        Receptacle(name, _kind(name), _location(x, z, rotation // 90, horizon))
        for name, (x, z, rotation, horizon) in sorted(poses.items())
    ]


def _free(points: list[tuple[float, float]], placed: list[Receptacle]) -> list[tuple[float, float]]:
    """The points from which nothing can be reached."""
    taken = {tuple(receptacle.location.split("|")[1:3]) for receptacle in placed}
    return [(x, z) for x, z in points if tuple(_location(x, z, 0, 0).split("|")[1:3]) not in taken]


def _stand(kind: str, x: float, z: float) -> list[Receptacle]:
    """At a point of the grid of its own; several of a kind in a row, reached from one spot."""
    return [
        Receptacle(f"{kind}|{x + 0.2 * i:+06.2f}|+00.90|{z:+06.2f}", kind, _location(x, z, 0, 60))
        for i in range(_UNPLACED[kind])
    ]


def _kind(receptacle_id: str) -> str:
    """Sink|+00.00|+00.89|-01.44|SinkBasin is a SinkBasin."""
    parts = receptacle_id.split("|")
    return parts[4] if len(parts) > 4 else parts[0]


def _location(x: float, z: float, quarter_turns: float, horizon: float) -> str:
    return f"loc|{round(x / GRID)}|{round(z / GRID)}|{round(quarter_turns)}|{round(horizon)}"


def _constants() -> Any:
    return import_alfworld("gen.constants")
