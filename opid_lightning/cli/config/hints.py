"""Which type a setting takes, as the class that owns it says."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

from jsonargparse import ArgumentParser

from opid_lightning.cli.config.names import Tree
from opid_lightning.cli.config.stages import CLASS_KEYS
from opid_lightning.cli.config.typed_values import members


class Section:
    """What holds settings, and has no value of its own."""


def hint_of(parser: ArgumentParser, tree: Tree, key: str) -> Any:
    """The type of the setting at `key` of a tree for this parser; None where nobody says.

    Of what holds further settings it is Section.
    """
    return _hint(types_of(parser), tree, [part for part in key.split(".") if part != "init_args"])


def types_of(parser: ArgumentParser) -> dict[str, Any]:
    """The type of each setting of the parser, by its full key."""
    return {
        action.dest: action._typehint  # type: ignore[attr-defined]
        for action in parser._actions
        if getattr(action, "_typehint", None) is not None and not action.dest.endswith(".help")
    }


def _hint(types: Mapping[str, Any], node: Any, parts: Sequence[str]) -> Any:
    """Follows `parts` through values and types together."""
    for end in range(len(parts), 0, -1):
        hint = types.get(".".join(parts[:end]))
        if hint is not None:
            break
    else:
        is_section = any(key.startswith(".".join(parts) + ".") for key in types)
        return Section if is_section else None
    for part in parts[:end]:
        node = _inside(node, part)
    rest = list(parts[end:])
    while rest and (part_type := _type_of_entries(hint)) is not None:
        hint, node = part_type, _inside(node, rest.pop(0))
    if not rest:
        return hint
    if rest[0] in CLASS_KEYS:
        return str if rest == ["class_path"] else None
    return _hint(_arguments_of(node, hint), node, rest)


def _inside(node: Any, part: str) -> Any:
    if not isinstance(node, Mapping):
        return None
    return node[part] if part in node else _inside(node.get("init_args"), part)


def _type_of_entries(hint: Any) -> Any:
    for kind in members(hint):
        origin = get_origin(kind)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(kind)[1]
    return None


def _arguments_of(node: Any, hint: Any) -> dict[str, Any]:
    """The types of what an object takes: that of class_path, or else the only one possible."""
    path = node.get("class_path") if isinstance(node, Mapping) else None
    if isinstance(path, str):
        try:
            return types_of_class(pkgutil.resolve_name(path))
        except (ImportError, AttributeError, ValueError):
            return {}  # the parser says why
    for kind in members(hint):
        if isinstance(kind, type) and is_dataclass(kind):
            return types_of_class(kind)
    return {}


@functools.cache
def types_of_class(made: Any) -> dict[str, Any]:
    """The types of what a class or function takes; read once, as it takes long."""
    parser = ArgumentParser(exit_on_error=False)
    if isinstance(made, type):
        parser.add_class_arguments(made, fail_untyped=False)
    elif callable(made):
        parser.add_function_arguments(made, fail_untyped=False)
    return types_of(parser)
