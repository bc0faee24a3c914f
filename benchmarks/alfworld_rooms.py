"""Rooms as game folders have them at the start, released and generated ones alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from opid_lightning.envs.alfworld.games import GAME, TRAJECTORY, list_tasks
from opid_lightning.envs.alfworld.generation.floor_plans import room_type

_FACT = re.compile(r"\((\w+) (\w+)(?: (\w+))?\)")


@dataclass(frozen=True)
class FurnishedRoom:
    path: Path
    task_type: str
    object_kind: str  # that the goal asks for
    target_kind: str  # the receptacle to put it in; the lamp to look at it under
    words: str  # of the goal
    number: int
    walkthrough: tuple[str, ...]
    receptacles: dict[str, str]  # kind of each
    objects: dict[str, str]  # kind of each
    contents: tuple[tuple[str, str], ...]  # object, receptacle
    openable: frozenset[str]

    @cached_property
    def place_of(self) -> dict[str, str]:
        """The first receptacle in which each object lies, of those that lie in any."""
        return dict(reversed(self.contents))

    @property
    def type(self) -> str:
        return room_type(self.number)


def read_rooms(data: Path, split: str) -> Iterator[FurnishedRoom]:
    for task in list_tasks(data, split):
        yield read_room(Path(task.payload).parent)


def read_room(folder: Path) -> FurnishedRoom:
    game: dict[str, Any] = json.loads((folder / GAME).read_text(encoding="utf-8"))
    facts: dict[str, Any] = json.loads((folder / TRAJECTORY).read_text(encoding="utf-8"))
    problem: str = game["pddl_problem"]
    initial = problem[problem.index("(:init") : problem.index("(:goal")]
    found: dict[str, list[tuple[str, str]]] = {}
    for predicate, one, two in _FACT.findall(initial):
        found.setdefault(predicate, []).append((one, two))
    parameters = facts["pddl_params"]
    return FurnishedRoom(
        path=folder,
        task_type=facts["task_type"],
        object_kind=parameters["object_target"],
        target_kind=parameters["parent_target"] or parameters["toggle_target"],
        words=re.findall(r"Your task is to: ([^\"\\]*)", game["grammar"])[-1].strip(),
        number=facts["scene"]["scene_num"],
        walkthrough=tuple(game["walkthrough"]),
        receptacles={one: two.removesuffix("Type") for one, two in found["receptacleType"]},
        objects={one: two.removesuffix("Type") for one, two in found["objectType"]},
        contents=tuple(found.get("inReceptacle", ())),
        openable=frozenset(one for one, _ in found.get("openable", ())),
    )
