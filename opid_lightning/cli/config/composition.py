"""Hydra composes conf/ into one tree, and tells which file said what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from opid_lightning.cli.config.choices import (
    CONF,
    SHARED,
    available_groups,
    configuration_file,
    groups,
)
from opid_lightning.cli.config.names import (
    Tree,
    from_places,
    is_path_of_class,
    keys_of,
    leaves_of,
    short,
    value_at,
)
from opid_lightning.cli.config.stages import with_init_args
from opid_lightning.cli.config.suggestions import choice_like
from opid_lightning.cli.config.typed_values import NULLS
from opid_lightning.cli.errors import UsageError, nearest

OF_THE_REFERENCE = re.compile(r"\$\{reference\.(\w+)\}")
CLASSES = {  # where a group's choice is an object
    **{name: f"{name}.class_path" for name in ("env", "sampler", "analyst")},
    "method": "method.rule.class_path",
    "strategy": "trainer.strategy.class_path",
    "logger": "logger.NAME.class_path",
    "callbacks": "callbacks.NAME.class_path",
}
BRINGS = "override /analyst"  # in the defaults of a method
RETIRED = {
    ("strategy", "fsdp"): (
        "It is gone: torch's older FullyShardedDataParallel keeps rotary buffers and sums of "
        "gradients in bfloat16. Take strategy=fsdp2, which shards the same, with "
        "trainer.strategy.save_distributed_checkpoint=true for state_dict_type=sharded."
    )
}
RUN = f"{SHARED}/run"
OPTIONAL_GROUPS = ("preset", "recipe", "callbacks", "logger")  # null leaves them out

# Also of bytes that are no UTF-8, of numbers with too many digits, and of brackets in brackets.
NOT_YAML = (yaml.YAMLError, ValueError, OSError, RecursionError)


def why_no_yaml(error: Exception) -> str:
    """The reason why YAML could not be read; nested too deeply, it ends in a RecursionError."""
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


@dataclass(frozen=True)
class Source:
    """A file, the keys that it sets, and the classes that it names, by their short names."""

    label: str
    keys: frozenset[str]
    classes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Composition:
    """The tree, with interpolations unresolved, and its files from weak to strong."""

    name: str
    tree: Tree
    sources: tuple[Source, ...]
    untouched: frozenset[str] = frozenset()  # groups that stand as conf/shared/run.yaml has them


def compose_conf(conf: str, choices: Mapping[str, str]) -> Composition:
    """The configuration `conf`, a name or the path of a YAML file, with its groups chosen."""
    tree, sources, untouched = composed(conf, choices)
    check_suits(tree.pop("suits", {}), choices)
    tree = with_init_args(from_places(filled(tree, tree.pop("reference", {}))))
    drop_replaced(tree, sources)
    return Composition(configuration_file(conf).stem, tree, sources, untouched)


def environment_of(conf: str, choices: Mapping[str, str]) -> str | None:
    """The environment that it has chosen in conf/; none where it brings its own."""
    found: str | None = composed(conf, choices)[0].get("suits", {}).get("env")
    return found


def composed(
    conf: str, choices: Mapping[str, str]
) -> tuple[Tree, tuple[Source, ...], frozenset[str]]:
    """As Hydra composes it, with what is not for the run itself; last, the untouched groups."""
    file = configuration_file(conf)
    check_choices(choices, file)
    choices = {**analyst_of_method(choices, file), **choices}
    overrides = [
        f"~{group}" if choice in NULLS else f"{group}={choice}" for group, choice in choices.items()
    ]
    if file.parent != CONF:
        overrides.append(f"hydra.searchpath=[file://{CONF}]")
    try:
        with initialize_config_dir(str(file.parent), version_base="1.3"):
            found = compose(file.stem, overrides)
            sources, untouched = sources_of(file, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(f"conf={conf} cannot be composed: {error}") from error
    except NOT_YAML as error:
        raise UsageError(f"conf={conf} is not YAML: {why_no_yaml(error)}") from error
    tree: Any = OmegaConf.to_container(found)
    return tree, sources, untouched


def analyst_of_method(choices: Mapping[str, str], file: Path) -> dict[str, str]:
    """The analyst that a typed method brings, which Hydra would let a recipe override."""
    for folder in (file.parent, CONF):
        path = folder / "method" / f"{choices.get('method')}.yaml"
        if path.is_file():
            defaults = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults", ())
            brought = [each[BRINGS] for each in defaults if BRINGS in each]
            return {"analyst": brought[0]} if brought else {}
    return {}


def check_suits(suits: Mapping[str, str], choices: Mapping[str, str]) -> None:
    """Raises where a model or a recipe would bring the numbers of another environment."""
    env = suits.get("env")
    for group in suits.keys() - {"env"} if env else ():
        if suits[group] != env:
            chosen = f"{group}={choices[group]}" if group in choices else f"The {group}"
            raise UsageError(
                f"{chosen} is made for env={suits[group]}, and env is {env}. Choose another "
                f"{group}, or start from conf={env if 'env' in choices else suits[group]}."
            )


def filled(tree: Any, reference: Mapping[str, Any]) -> Any:
    """The tree with the numbers that the authors have for the environment where they are named."""
    if isinstance(tree, Mapping):
        return {name: filled(value, reference) for name, value in tree.items()}
    named = OF_THE_REFERENCE.fullmatch(tree) if isinstance(tree, str) else None
    if named is None:
        return tree
    if named[1] not in reference:
        raise UsageError(
            "preset=reference knows no numbers for this environment, only for those in "
            f"conf/shared/reference. Choose preset=paper, and set {named[1]} yourself."
        )
    return reference[named[1]]


def check_choices(choices: Mapping[str, str], file: Path) -> None:
    """Raises UsageError, with the nearest one, for a choice that its group does not have."""
    available = available_groups(file)
    needed = groups().keys() - {*OPTIONAL_GROUPS}
    for group, choice in choices.items():
        if choice in NULLS and group not in needed:
            continue
        if choice not in available[group]:
            advice = RETIRED.get((group, choice)) or (
                f"A run needs one. {nearest('', available[group])}"
                if choice in NULLS
                else choice_like(choice, available[group], file.stem)
            )
            raise UsageError(
                f"Group {group!r} has no choice {choice!r}. {advice}"
                f"{advice_on_class(group, choice)}\n  Set on the command line: {group}={choice}"
            )


def advice_on_class(group: str, choice: str) -> str:
    """How to bring a class of one's own to this group; blank where a group takes none."""
    if group == "model":
        return " Or a folder, or OWNER/NAME on the Hugging Face hub."
    key = CLASSES.get(group)
    name = choice if is_path_of_class(choice) else "MODULE.CLASS"
    return f" A class of your own is {key}={name}." if key else ""


def sources_of(file: Path, overrides: list[str]) -> tuple[tuple[Source, ...], frozenset[str]]:
    """The files of the defaults list in the order in which they override one another.

    Also the groups that conf/shared/run.yaml chooses, and nobody else.
    """
    loader = GlobalHydra.instance().config_loader()
    listed = loader.compute_defaults_list(file.stem, overrides, RunMode.RUN)
    found = []
    untouched = {str(d.package) for d in listed.defaults if d.parent == RUN}
    for default in listed.defaults:
        for folder in (file.parent, CONF):
            path = folder / f"{default.config_path}.yaml"
            if path.is_file() and not str(default.config_path).startswith("hydra/"):
                found.append(source_of(path, default.package or ""))
                break
    return tuple(found), frozenset(untouched - listed.overrides.override_metadata.keys())


def source_of(path: Path, package: str = "", layers: Sequence[Tree] = ()) -> Source:
    """The file with what it sets, or with what it says in another form."""
    label = f"conf/{path.relative_to(CONF)}" if path.is_relative_to(CONF) else str(path)
    tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    tree.pop("defaults", None)
    trees = layers or [tree]
    keys = frozenset(key for each in trees for key in keys_of(each, package))
    named = [leaf for each in trees for leaf in leaves_of(each, package)]
    classes = {short(key): str(path) for key, path in named if key.endswith(".class_path")}
    return Source(label, keys, {key.removesuffix(".class_path"): p for key, p in classes.items()})


def drop_replaced(tree: Tree, sources: Sequence[Source]) -> None:
    """Takes away what a file set for a class that a later file replaced by another."""
    for number, source in enumerate(sources):
        for key, path in source.classes.items():
            earlier = {each.classes.get(key, path) for each in sources[:number]}
            holder = value_at(tree, key)
            if earlier <= {path} or not isinstance(holder, dict):
                continue
            later = set().union(*(each.keys for each in sources[number:]))
            for name in list(holder.get("init_args") or {}):
                if f"{key}.{name}" not in later:
                    del holder["init_args"][name]


def load_saved(config: str) -> Composition:
    """The configuration that an earlier run saved, under the names that users type."""
    path = Path(config)
    if not path.is_file():
        raise UsageError(f"--config {config}: there is no such file.")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except NOT_YAML as error:
        raise UsageError(f"--config {config} is not YAML: {why_no_yaml(error)}") from error
    if not isinstance(tree, dict):
        raise UsageError(f"--config {config} holds no settings. Expected a run's config.yaml.")
    return Composition(path.stem, from_places(tree), (source_of(path),))
