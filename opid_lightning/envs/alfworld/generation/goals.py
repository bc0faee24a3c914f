"""What a generated game can ask for in a room, in PDDL and in words."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from opid_lightning.envs.alfworld.generation.floor_plans import (
    LAMP,
    FloorPlan,
    floor_plan,
    has_ability,
)
from opid_lightning.envs.alfworld.stock import import_alfworld


@dataclass(frozen=True)
class Treatment:
    """What is done to the object on its way."""

    verb: str
    ability: str
    appliance: str


TREATMENTS = {
    "pick_clean_then_place_in_recep": Treatment("clean", "Cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": Treatment("heat", "Heatable", "Microwave"),
    "pick_cool_then_place_in_recep": Treatment("cool", "Coolable", "Fridge"),
}


@dataclass(frozen=True)
class Goal:
    task_type: str
    object_kind: str
    target_kind: str  # the receptacle to put it in; the lamp to look at it under

    @property
    def is_lit(self) -> bool:
        return self.task_type == "look_at_obj_in_light"

    @property
    def num_objects(self) -> int:
        return 2 if self.task_type == "pick_two_obj_and_place" else 1

    @property
    def parameters(self) -> dict[str, str | bool]:
        """ALFRED's `pddl_params`."""
        return {
            "mrecep_target": "",
            "object_sliced": False,
            "object_target": self.object_kind,
            "parent_target": "" if self.is_lit else self.target_kind,
            "toggle_target": self.target_kind if self.is_lit else "",
        }

    def folder_name(self, plan: FloorPlan) -> str:
        names = (self.task_type, self.object_kind, "None", self.target_kind, str(plan.number))
        return "-".join(names)

    def pddl(self) -> str:
        text: str = _library(self.task_type)["pddl"]
        return text.format(**self._names()).replace(
            "#", "-"
        )  # alfworld writes # for the - of a type

    def words(self, rng: random.Random) -> str:
        template: str = rng.choice(_library(self.task_type)["templates"])
        return template.format(**{key: name.lower() for key, name in self._names().items()})

    def _names(self) -> dict[str, str]:
        return {"obj": self.object_kind, "recep": self.target_kind, "toggle": self.target_kind}


@cache
def goals_of(number: int, task_type: str) -> tuple[Goal, ...]:
    """All that such a task can ask in a room: its objects have another place to start from."""
    plan = floor_plan(number)
    if task_type == "look_at_obj_in_light":
        kinds = plan.object_kinds if plan.has_lamp else ()
        return tuple(Goal(task_type, kind, LAMP) for kind in kinds)
    treatment = TREATMENTS.get(task_type)
    return tuple(
        Goal(task_type, kind, target)
        for kind in plan.object_kinds
        if treatment is None or _can_treat(plan, kind, treatment)
        for target in plan.places_of(kind)
        if len(plan.places_of(kind)) > 1 and (treatment is None or target != treatment.appliance)
    )


def _can_treat(plan: FloorPlan, object_kind: str, treatment: Treatment) -> bool:
    return (
        has_ability(object_kind, treatment.ability) and treatment.appliance in plan.receptacle_kinds
    )


def _library(task_type: str) -> dict[str, Any]:
    entry: dict[str, Any] = import_alfworld("gen.goal_library").gdict[task_type]
    return entry
