"""Stages that a class of the user's own may replace, which are settings alone where none is."""

from __future__ import annotations

import pkgutil
from typing import Any

# By the public name, which is what jsonargparse writes whichever path was typed.
# Of the form that Lightning CLI gives an object: class_path: a.B, init_args: {...}
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
STAGES = {
    "rollout": "opid_lightning.Rollout",
    "routing": "opid_lightning.Routing",
    "injection": "opid_lightning.Injection",
    "advantage": "opid_lightning.Advantage",
    "loss": "opid_lightning.Loss",
}


def accept_subclasses() -> None:
    """Has jsonargparse take `class_path` for stages; of dataclasses it does not by itself."""
    from jsonargparse import set_parsing_settings  # which `--help` need not wait for

    stages = [pkgutil.resolve_name(path) for path in STAGES.values()]
    set_parsing_settings(subclasses_enabled=stages)


def with_stages(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with every stage as an object, of its own class unless the tree names another."""
    stages = {name: as_object(tree.get(name, {}), path) for name, path in STAGES.items()}
    return {**tree, **stages}


def as_object(settings: Any, class_path: str) -> Any:
    """`{mode: additive}` as `{class_path: ..., init_args: {mode: additive}}`."""
    if not isinstance(settings, dict):
        return settings
    plain = {name: value for name, value in settings.items() if name not in CLASS_KEYS}
    given = settings.get("init_args") or {}
    made = {"class_path": settings.get("class_path", class_path), "init_args": {**plain, **given}}
    return {**made, **{name: settings[name] for name in CLASS_KEYS[2:] if name in settings}}


def with_init_args(tree: Any) -> Any:
    """The tree with what stands beside a `class_path` among its `init_args`."""
    if not isinstance(tree, dict):
        return tree
    inner = {name: with_init_args(value) for name, value in tree.items()}
    is_plain = "class_path" in inner and not inner.keys() <= {*CLASS_KEYS}
    return as_object(inner, "") if is_plain else inner


def as_settings(tree: Any) -> Any:
    """The tree with the settings alone wherever a stage is of the class that it has anyway."""
    if not isinstance(tree, dict):
        return tree
    return {name: as_settings(_settings_of(name, value)) for name, value in tree.items()}


def _settings_of(name: Any, value: Any) -> Any:
    is_own = isinstance(value, dict) and value.get("class_path") == STAGES.get(name, KeyError)
    return value.get("init_args") or {} if is_own and "dict_kwargs" not in value else value
