"""What a generated game can ask for in a room, in PDDL and in words."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

from opid_lightning.envs.alfworld.generation.floor_plans import (
    FloorPlan,
    floor_plan,
    plan_numbers,
    room_type,
)
from opid_lightning.envs.alfworld.generation.kinds import LAMP, can_be_carried, has_ability
from opid_lightning.envs.alfworld.generation.statistics import statistics
from opid_lightning.envs.alfworld.stock import import_alfworld

# A goal in a type of room weighs as many games as the released training set has of it, and this
# much more: the released validation games too ask for things that no training game asks for.
NEW_GOAL = 0.25


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
    """A task type with the kinds of object and receptacle that it is about."""

    task_type: str
    object_kind: str
    target_kind: str  # the receptacle to put it in; the lamp to look at it under

    @property
    def is_lit(self) -> bool:
        """Whether the object is to be looked at under a lamp."""
        return self.task_type == "look_at_obj_in_light"

    @property
    def num_objects(self) -> int:
        """How many objects of the kind are to be placed: 2 for pick_two_obj_and_place."""
        return 2 if self.task_type == "pick_two_obj_and_place" else 1

    @property
    def treatment(self) -> Treatment | None:
        """Heating, cooling or cleaning, where the task type asks for it."""
        return TREATMENTS.get(self.task_type)

    @property
    def forbidden_place(self) -> str:
        """Where its objects never start: they would be there already, or half treated.

        An object that is yet to be treated may well lie where it is to be brought.
        """
        return self.treatment.appliance if self.treatment else self.target_kind

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
        """As ALFRED names folders: type, object, None, target, number of the plan."""
        names = (self.task_type, self.object_kind, "None", self.target_kind, str(plan.number))
        return "-".join(names)

    def pddl(self) -> str:
        """The goal in PDDL, from alfworld's own template."""
        text: str = _library(self.task_type)["pddl"]
        # alfworld writes # for the - of a type
        return text.format(**self._names()).replace("#", "-")

    def words(self, rng: random.Random) -> str:
        """The goal in English, from one of alfworld's templates that `rng` picks."""
        template: str = rng.choice(_library(self.task_type)["templates"])
        return template.format(**{key: name.lower() for key, name in self._names().items()})

    def _names(self) -> dict[str, str]:
        return {"obj": self.object_kind, "recep": self.target_kind, "toggle": self.target_kind}


def draw_goal(task_type: str, is_unseen: bool, rng: random.Random) -> tuple[Goal, FloorPlan]:
    """One of all that the split's rooms can ask for, and one of the rooms that can."""
    choices = _choices(task_type, is_unseen)
    chosen = rng.choices(choices, [choice.weight for choice in choices])[0]
    return chosen.goal, floor_plan(rng.choice(chosen.rooms))


@dataclass(frozen=True)
class _Choice:
    goal: Goal
    rooms: tuple[int, ...]  # of one type, all those that can ask for it
    weight: float


@cache
def _choices(task_type: str, is_unseen: bool) -> tuple[_Choice, ...]:
    rooms: dict[tuple[Goal, str], list[int]] = defaultdict(list)
    for number in plan_numbers(is_unseen):
        for goal in goals_of(number, task_type):
            rooms[goal, room_type(number)].append(number)
    return tuple(
        _Choice(goal, tuple(numbers), _num_games(goal, of) + NEW_GOAL)
        for (goal, of), numbers in rooms.items()
    )


def _num_games(goal: Goal, of: str) -> int:
    asked = statistics().goals[goal.task_type].get(of, {})
    return asked.get(f"{goal.object_kind} {goal.target_kind}", 0)


@cache
def goals_of(number: int, task_type: str) -> tuple[Goal, ...]:
    """All that such a task can ask in a room: its objects have a place to start from."""
    plan = floor_plan(number)
    treatment = TREATMENTS.get(task_type)
    kinds = [kind for kind in plan.object_kinds if can_be_carried(kind)]
    if task_type == "look_at_obj_in_light":
        has_lamp = LAMP in plan.object_kinds
        return tuple(Goal(task_type, kind, LAMP) for kind in kinds if has_lamp)
    goals = (
        Goal(task_type, kind, target)
        for kind in kinds
        if treatment is None or _can_treat(plan, kind, treatment)
        for target in plan.targets_of(kind)
        if treatment is None or target != treatment.appliance
    )
    return tuple(goal for goal in goals if _can_start(plan, goal))


def _can_treat(plan: FloorPlan, object_kind: str, treatment: Treatment) -> bool:
    return (
        has_ability(object_kind, treatment.ability) and treatment.appliance in plan.receptacle_kinds
    )


def _can_start(plan: FloorPlan, goal: Goal) -> bool:
    places = plan.place_weights(goal.object_kind)
    return any(place.kind != goal.forbidden_place for place, _ in places)


@cache
def _library(task_type: str) -> dict[str, Any]:
    entry: dict[str, Any] = import_alfworld("gen.goal_library").gdict[task_type]
    return entry
