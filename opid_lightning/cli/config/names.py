"""The short names that users type, and where Lightning CLI keeps what they name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from opid_lightning.cli.config.stages import CLASS_KEYS, STAGES, as_object

Tree = dict[str, Any]

PLACES = {
    "env": "data.env",
    "sampler": "data.sampler",
    "rollout": "data.rollout",
    "routing": "data.routing",
    "injection": "data.injection",
    "batching": "data.batching",
    "advantage": "data.advantage",
    "method": "data.method",
    "evaluation": "data.evaluation",
    "workers": "data.workers",
    "policy": "model.policy",
    "loss": "model.loss",
    "optimizer": "model.optimizer",
    "analyst": "callbacks.skill_extraction.init_args.analyst",
}


def short(key: str) -> str:
    """The name a user types: `data.env.init_args.max_steps` is `env.max_steps`."""
    key = without_init_args(key)
    for name, place in PLACES.items():
        place = without_init_args(place)
        if key == place or key.startswith(place + "."):
            key = name + key.removeprefix(place)
    return key


def without_init_args(key: str) -> str:
    """The key as users type it, without Lightning CLI's `init_args`."""
    return ".".join(part for part in key.split(".") if part != "init_args")


def to_places(tree: Tree) -> Tree:
    """Puts each short name where Lightning CLI expects it; the analyst goes with its callback."""
    placed = copy.deepcopy({key: value for key, value in tree.items() if key not in PLACES})
    for name in PLACES.keys() & tree.keys():
        if name != "analyst" or "skill_extraction" in tree.get("callbacks", {}):
            set_key(placed, PLACES[name], tree[name])
    return placed


def from_places(tree: Tree) -> Tree:
    """The inverse of `to_places`."""
    for name, place in PLACES.items():
        *parents, last = place.split(".")
        holder: Any = tree
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and last in holder:
            tree = {**tree, name: holder[last]}
            tree = without(tree, parents, last)
    return tree


def without(tree: Tree, parents: list[str], last: str) -> Tree:
    """A copy of the tree without `parents.last`; the tree itself stays as it is."""
    if not parents:
        return {key: value for key, value in tree.items() if key != last}
    return {**tree, parents[0]: without(tree[parents[0]], parents[1:], last)}


def set_key(tree: Tree, key: str, value: Any) -> None:
    """Sets `env.max_steps` also where `env` is an object with init_args; merges mappings.

    Another class for an object starts from that class's own defaults.
    """
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        node = arguments_of(node, parent)
        present = node.get(parent)
        if not isinstance(present, dict):
            node[parent] = {"class_path": present} if is_path_of_class(present) else {}
        node = node[parent]
    node = arguments_of(node, last)
    if last == "class_path" and short(".".join(parents)) in STAGES:
        node["init_args"] = as_object(node, "").get("init_args")  # which the new class takes too
        for name in node.keys() - {*CLASS_KEYS}:
            del node[name]
    elif last == "class_path" and node.get(last) not in (None, value):
        node.pop("init_args", None)
    if isinstance(value, Mapping) and isinstance(node.get(last), dict):
        for name, inner in value.items():
            set_key(node[last], name, inner)
    else:
        node[last] = value


def is_path_of_class(value: Any) -> bool:
    """Whether a value reads as `package.Name`; nothing is imported."""
    return isinstance(value, str) and all(map(str.isidentifier, value.split("."))) and "." in value


def arguments_of(node: Tree, name: str) -> Tree:
    """Where `name` belongs: among an object's init_args, or in the mapping itself."""
    if "class_path" not in node or name in CLASS_KEYS:
        return node
    if not isinstance(node.get("init_args"), dict):
        node["init_args"] = {}
    return node["init_args"]


def remove_key(tree: Tree, key: str) -> bool:
    """Whether it was there."""
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        node = arguments_of(node, parent).get(parent)
        if not isinstance(node, dict):
            return False
    return arguments_of(node, last).pop(last, KeyError) is not KeyError


def value_at(tree: Tree, key: str) -> Any:
    """The value, or KeyError where there is none."""
    node: Any = tree
    for part in key.split("."):
        node = arguments_of(node, part).get(part, KeyError) if isinstance(node, dict) else KeyError
    return node


def place_of(key: str) -> str:
    """Where a short name is kept: the inverse of `short`, but for init_args."""
    name, dot, rest = key.partition(".")
    return f"{PLACES.get(name, name)}{dot}{rest}"


def leaves_of(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, with its key."""
    if not isinstance(tree, Mapping):
        yield prefix, tree
        return
    for name, inner in tree.items():
        yield from leaves_of(inner, f"{prefix}.{name}" if prefix else str(name))


def keys_of(tree: Any, prefix: str = "") -> set[str]:
    """Every key of a tree, of mappings and of values, by its short name."""
    parts = [key.split(".") for key, _ in leaves_of(tree, prefix) if key]
    return {short(".".join(key[:end])) for key in parts for end in range(1, len(key) + 1)}
