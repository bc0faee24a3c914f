"""`preset=tiny`: any configuration as a run of about a minute on a CPU (conf/preset/tiny.yaml)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import MISSING

from opid_lightning.cli.config.choices import CONF, SHARED
from opid_lightning.cli.config.composition import (
    Composition,
    compose_conf,
    environment_of,
    source_of,
)
from opid_lightning.cli.config.names import Tree, from_places, leaves_of, remove_key, set_key

TINY = "tiny"
FILE = CONF / "preset" / f"{TINY}.yaml"
ANY_MODEL = "small"


def compose_tiny(conf: str, choices: Mapping[str, str]) -> Composition:
    """The configuration with its own preset, and over it the sizes of a short run."""
    plan: Any = yaml.safe_load(FILE.read_text())
    rest = {group: choice for group, choice in choices.items() if group != "preset"}
    env = environment_of(conf, rest)
    model = plan["models"].get(env, ANY_MODEL)
    composition = compose_conf(conf, {**plan["choices"], "model": model, **rest})
    layers = [plan["settings"], plan["environments"].get(env, {})]
    if "model" not in rest:
        layers[:0] = what_suits(model, env)
    tree = copy.deepcopy(composition.tree)
    for layer in layers:
        for key, value in from_places(layer).items():
            set_key(tree, key, value)
    source = source_of(FILE, layers=layers)
    sources = (*composition.sources, source)
    return Composition(composition.name, tree, sources, composition.untouched)


def what_suits(model: str, env: str | None) -> list[Tree]:
    """What conf/ has for a model, and for its prompts: a recipe has set it for another model."""
    files = CONF / "model" / f"{model}.yaml", CONF / SHARED / "prompts" / f"{env}_{model}.yaml"
    trees: list[Tree] = [yaml.safe_load(file.read_text()) for file in files if file.is_file()]
    return [{name: value for name, value in tree.items() if name != "suits"} for tree in trees]


def drop_missing(tree: Tree) -> None:
    """Leaves what has no value to the classes' defaults."""
    for key, value in list(leaves_of(tree)):
        if value == MISSING:
            remove_key(tree, key)
