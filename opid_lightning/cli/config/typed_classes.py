"""Classes typed as values, such as `optimizer=torch.optim.SGD`: they stand for a class_path."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opid_lightning.cli.config.arguments import Setting
from opid_lightning.cli.config.names import (
    Tree,
    is_path_of_class,
    leaves_of,
    short,
    value_at,
)
from opid_lightning.cli.config.stages import CLASS_KEYS, STAGES
from opid_lightning.cli.errors import UsageError

NAMED_OBJECTS = ("callbacks", "logger")


def with_class_paths(settings: Sequence[Setting], tree: Tree) -> tuple[Setting, ...]:
    """The settings, with a class_path of its own for each class that a value names.

    A class takes away the settings of the class that was there, so it has to be laid before those
    that were typed for it, in whichever order they were typed.
    """
    return tuple(part for setting in settings for part in _parts(setting, settings, tree))


def _parts(setting: Setting, settings: Sequence[Setting], tree: Tree) -> Iterator[Setting]:
    key, value = short(setting.key), setting.value
    if key.split(".")[-1] in CLASS_KEYS or "${" in setting.text:
        yield setting
    elif isinstance(value, Mapping):
        for inner, path in leaves_of(value, setting.key):
            if inner.endswith(".class_path"):
                yield Setting(inner, str(path), setting.typed)
        yield setting
    elif isinstance(value, str) and (_holds_object(key, tree) or _replaces_stage(key, value)):
        path = _full_path(value, value_at(tree, key))
        yield Setting(f"{setting.key}.class_path", path, setting.typed)
    elif (inner_setting := _first_inside(key, settings)) is None:
        yield setting
    elif is_path_of_class(value):
        yield Setting(f"{setting.key}.class_path", setting.text, setting.typed)
    else:
        raise UsageError(
            f"{setting.typed} leaves no place for {inner_setting.typed}. Type one of them alone."
        )


def _holds_object(key: str, tree: Tree) -> bool:
    present = value_at(tree, key)
    is_named = key.split(".")[0] in NAMED_OBJECTS and key.count(".") == 1
    return is_named or (isinstance(present, dict) and "class_path" in present)


def _replaces_stage(key: str, value: str) -> bool:
    return key in STAGES and is_path_of_class(value)


def _first_inside(key: str, settings: Sequence[Setting]) -> Setting | None:
    return next((each for each in settings if short(each.key).startswith(f"{key}.")), None)


def _full_path(name: str, present: Any) -> str:
    """`SGD`, where the class that is there is `torch.optim.AdamW`, is `torch.optim.SGD`."""
    there = present.get("class_path") if isinstance(present, dict) else None
    if not isinstance(there, str) or not name.isidentifier():
        return name
    beside = f"{there.rpartition('.')[0]}.{name}"
    try:
        found = pkgutil.resolve_name(beside)
    except (ImportError, AttributeError, ValueError):
        return name
    return beside if isinstance(found, type) else name
