"""What a checkpoint says of how its run is evaluated, so that only like is compared with like."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from opid_lightning.gate import name_of
from opid_lightning.protocols import Environment
from opid_lightning.training.evaluation import EvaluationSet

if TYPE_CHECKING:
    from opid_lightning.training.datamodule import RolloutDataModule

KEY = "evaluation"  # in a checkpoint
OF_EVALUATION = ("temperature", "seed", "attempts", "num_tasks", "validation_split")
OF_ROLLOUT = ("max_prompt_tokens", "skill_tokens", "max_response_tokens", "stop")
PLAIN = (bool, int, float, str, type(None), Path)


def description(data: RolloutDataModule) -> dict[str, str]:
    """What scores depend on besides the weights, by the names of settings."""
    env = data.env
    return {
        "env": name_of(env),
        **settings_of(env),
        **{f"evaluation.{name}": str(getattr(data.evaluation, name)) for name in OF_EVALUATION},
        **{f"rollout.{name}": str(getattr(data.rollout, name)) for name in OF_ROLLOUT},
        **{f"tasks of {each.split}": contents(each) for each in data.evaluation_sets},
    }


def settings_of(env: Environment) -> dict[str, str]:
    """The environment's own, but for those of the training split and of where files are kept."""
    if dataclasses.is_dataclass(env):
        names = [field.name for field in dataclasses.fields(env)]
    else:
        names = sorted(vars(env))
    return {
        f"env.{name}": str(getattr(env, name))
        for name in names
        if isinstance(getattr(env, name), PLAIN)
        and not name.startswith("_")
        and "train" not in name
        and "cache" not in name
    }


def contents(chosen: EvaluationSet) -> str:
    """The number of tasks of a set and a hash of them, as a checkpoint keeps it."""
    named = "\n".join(f"{task.kind} {task.id}" for task in chosen.tasks)
    return f"{len(chosen.tasks)}, {hashlib.sha256(named.encode()).hexdigest()[:8]}"


def differing(was: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What is otherwise now, by name; nothing where the run was never evaluated so far."""
    names = sorted({*was, *now}) if was else []
    return {
        name: f"{now.get(name)} (was {was.get(name)})"
        for name in names
        if was.get(name) != now.get(name)
    }


def what_changed(changes: Mapping[str, str]) -> str:
    """One line for the user; empty where nothing did."""
    if not changes:
        return ""
    listed = ", ".join(f"{name} is {values}" for name, values in changes.items())
    return (
        f"The evaluation differs from that of the run so far: {listed}. Scores from now on are "
        "not compared with earlier ones."
    )
