"""What a checkpoint says of its optimizer: its state is taken over, its settings are not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from opid_lightning.gate import name_of

KEY = "optimizer"  # in a checkpoint
Settings = dict[str, Any]  # of a group of parameters
Record = dict[str, Any]  # plain values
PLAIN = (bool, int, float, str, type(None))


def settings_of(optimizer: Optimizer) -> list[Settings]:
    """What was asked of each group; whatever else a group holds belongs to the state."""
    names = arguments_of(type(optimizer)) | {"lr"}
    return [
        {name: value for name, value in group.items() if name in names and name != "params"}
        for group in optimizer.param_groups
    ]


def arguments_of(kind: type) -> set[str]:
    """The parameters of an optimizer's constructor, those of its base classes included."""
    makers = [vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base)]
    return {
        name
        for make in makers
        if inspect.isfunction(make)
        for name in inspect.signature(make).parameters
    }


def apply_settings(optimizer: Optimizer, settings: Sequence[Settings], share: float) -> None:
    """Has each group train by these settings, at this share of its full learning rate."""
    for group, asked in zip(optimizer.param_groups, settings, strict=True):
        group.update(asked)
        group["lr"] = asked["lr"] * share


def record_of(optimizer: Optimizer, settings: Sequence[Settings]) -> Record:
    """What a run that resumes has to know of it."""
    return {
        "class": name_of(optimizer),
        "parameters": [len(group["params"]) for group in optimizer.param_groups],
        "settings": [plain(group) for group in settings],
        "state": names_in(optimizer.state),
    }


def names_in(state: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """What is kept of parameters; of a matrix it may be something else than of a vector."""
    return sorted({name for kept in state.values() for name in kept})


def plain(settings: Mapping[str, Any]) -> Settings:
    """Without what no checkpoint may hold, and with lists for tuples, as YAML gives either."""
    found = {
        name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()
    }
    return {name: value for name, value in found.items() if is_plain(value)}


def is_plain(value: Any) -> bool:
    """Whether the value is a number, text, None, or a list of such."""
    return isinstance(value, PLAIN) or (isinstance(value, list) and all(map(is_plain, value)))


def record_in(checkpoint: Mapping[str, Any]) -> Record | None:
    """The record, or as much of it as the state of an older version's checkpoint tells."""
    if KEY in checkpoint or not checkpoint.get("optimizer_states"):
        return checkpoint.get(KEY)
    saved = checkpoint["optimizer_states"][0]
    groups = saved["param_groups"]
    # Of these versions, `lr` was the rate of the iteration, and `initial_lr` the one asked for.
    settings = [{**group, "lr": group.get("initial_lr", group.get("lr"))} for group in groups]
    return {
        "class": None,
        "parameters": [len(group["params"]) for group in groups],
        "settings": [plain(group) for group in settings],
        "state": names_in(saved["state"]),
    }


def check_continues(
    found: Record, own: Record, make: Callable[[Iterable[torch.nn.Parameter]], Optimizer]
) -> None:
    """Raises where this run's optimizer cannot take over the state of the checkpoint's."""
    fresh_start = (
        "To start a new optimizer from the checkpoint's weights, export the checkpoint and set "
        "policy.path to the folder."
    )
    if found["class"] not in (None, own["class"]):
        raise ValueError(
            f"The checkpoint's optimizer is {found['class']}, but this run's is {own['class']}, "
            f"which cannot take over its state: set optimizer.class_path to the former. "
            f"{fresh_start}"
        )
    if found["parameters"] != own["parameters"]:
        raise ValueError(
            f"The checkpoint's optimizer has {counted(found)}, but this run's has {counted(own)}: "
            f"set policy and optimizer as they were in its run. {fresh_start}"
        )
    needed = set(names_of_state(make)) if differing(found, own) or not found["class"] else set()
    if found["state"] and (missing := needed - set(found["state"])):
        changed = ", ".join(needing(missing, found, own, make)) or "optimizer.class_path"
        raise ValueError(
            f"This run's optimizer, {own['class']}, keeps {', '.join(sorted(missing))} of each "
            f"parameter, which the checkpoint's state does not hold ({', '.join(found['state'])}): "
            f"set {changed} as in its run. {fresh_start}"
        )


def counted(record: Record) -> str:
    """How many parameters an optimizer has, for a message."""
    numbers = record["parameters"]
    groups = f"{len(numbers)} groups" if len(numbers) > 1 else "1 group"
    return f"{sum(numbers)} parameters in {groups}"


def needing(
    missing: set[str],
    found: Record,
    own: Record,
    make: Callable[[Iterable[torch.nn.Parameter]], Optimizer],
) -> list[str]:
    """Which of the settings that differ make it keep what is missing; all where none alone does."""
    changed = {
        name: was[name]
        for was, now in zip(found["settings"], own["settings"], strict=True)
        for name in now
        if name in was and was[name] != now[name]
    }
    guilty = [n for n, was in changed.items() if missing - set(names_of_state(make, {n: was}))]
    return [f"optimizer.{name}" for name in guilty or changed]


def names_of_state(
    make: Callable[[Iterable[torch.nn.Parameter]], Optimizer], settings: Mapping[str, Any] = {}
) -> list[str]:
    """What it keeps of a parameter, found out by a step on one that is nobody's."""
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    optimizer = make([parameter])
    optimizer.param_groups[0].update(settings)
    optimizer.step(lambda: 0.0)
    return sorted(optimizer.state[parameter])


def differing(found: Record, own: Record) -> dict[str, str]:
    """The settings that the checkpoint's run had otherwise, by name: how they are and were."""
    several = len(own["settings"]) > 1
    changes = {}
    for number, (was, now) in enumerate(zip(found["settings"], own["settings"], strict=True)):
        for name in now:
            if name in was and was[name] != now[name]:
                group = f" of group {number}" if several else ""
                changes[f"optimizer.{name}{group}"] = f"{now[name]} (was {was[name]})"
    return changes


def what_changed(found: Record, own: Record) -> str:
    """One line for the user; empty where nothing did."""
    changes = differing(found, own)
    listed = ", ".join(f"{name} is {values}" for name, values in changes.items())
    return f"The optimizer resumes with other settings: {listed}." if changes else ""
