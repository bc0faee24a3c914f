"""What was typed, laid over what was composed: the one configuration that is run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from opid_lightning.cli.config.arguments import Arguments, Setting
from opid_lightning.cli.config.choices import (
    available_groups,
    configuration_file,
    configurations,
    groups,
)
from opid_lightning.cli.config.composition import (
    Composition,
    Source,
    compose_conf,
    load_saved,
)
from opid_lightning.cli.config.gpu_defaults import VERBS, Machine, gpu_defaults
from opid_lightning.cli.config.names import (
    Tree,
    keys_of,
    leaves_of,
    remove_key,
    set_key,
    short,
    value_at,
)
from opid_lightning.cli.config.suggestions import suggestion
from opid_lightning.cli.config.tiny import TINY, compose_tiny, drop_missing
from opid_lightning.cli.config.typed_classes import with_class_paths
from opid_lightning.cli.config.typed_values import read_as
from opid_lightning.cli.errors import UsageError


@dataclass(frozen=True)
class Configuration:
    """A tree of settings by the names that users type, and where each was set."""

    name: str
    tree: Tree
    sources: tuple[Source, ...]
    typed: tuple[Setting, ...]  # without those that chose a file
    note: str = ""  # on defaults that this machine decided

    def where(self, key: str) -> str:
        """Where a setting, or something inside it or around it, was set last."""
        key = short(key)
        for setting in reversed(self.typed):
            typed = short(as_policy_path(setting).key)
            if is_within(key, typed) or is_within(typed, key):
                return f"Set on the command line: {setting.typed}"
        for source in reversed(self.sources):
            if key in source.keys:
                return f"Set in {source.label}"
        return ""

    def text(self, key: str, resolved: Tree) -> str | None:
        """A setting of text that is read before the types of all settings are known."""
        typed = [setting.text for setting in self.typed if short(setting.key) == key]
        value = value_at(resolved, key)
        if typed and "${" not in typed[-1]:
            value = read_as(typed[-1], str)
        if value is KeyError or value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise UsageError(self.located(f"{key} is {value!r}. Expected a path.", key))
        return value

    def located(self, message: str, key: str) -> str:
        """The message, with a line on where `key` was set."""
        where = self.where(key)
        return f"{message}\n  {where}" if where else message

    def resolved(self) -> Tree:
        """The tree with its interpolations filled in; raises UsageError for what has no value."""
        try:
            container: Any = OmegaConf.to_container(OmegaConf.create(self.tree), resolve=True)
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UsageError(self.located(reason, error.full_key or "")) from error
        for key, value in leaves_of(container):
            if value == MISSING:
                raise UsageError(
                    self.located(f"{short(key)} has no value yet. Add {short(key)}=VALUE.", key)
                )
        return container


def place_in_order(setting: Setting) -> tuple[bool, int]:
    """Classes are laid first, the outer before the inner: each takes settings away."""
    is_class = setting.key.endswith(".class_path")
    return not is_class, short(setting.key).count(".") if is_class else 0


def laid_in_order(settings: Sequence[Setting]) -> list[Setting]:
    """The settings in the order in which they are applied: whole objects before their parts."""
    return sorted(map(as_policy_path, settings), key=place_in_order)


def check_section(setting: Setting, present: Any, value: Any) -> None:
    """Raises where one value would take the place of a whole section of settings."""
    if isinstance(present, dict) and "class_path" not in present and not isinstance(value, dict):
        raise UsageError(
            f"{setting.typed} would replace all settings of {setting.key}. Expected them one by "
            f"one, as {setting.key}.NAME=VALUE, or as a mapping, {setting.key}={{NAME: VALUE}}."
        )


def is_within(key: str, outer: str) -> bool:
    """Whether a dotted key is `outer` or a part of it."""
    return key == outer or key.startswith(outer + ".")


def configure(arguments: Arguments, machine: Machine = Machine()) -> Configuration:
    """Composes what was asked for and sets what was typed; nothing is resolved or checked yet."""
    note = ""
    if arguments.config is not None:
        composition, settings = load_saved(arguments.config), arguments.settings
        refuse_choices(settings)
    else:
        composition, settings, note = compose_typed(arguments, machine)
    tree = copy.deepcopy(composition.tree)
    settings = with_class_paths(settings, tree)
    for setting in laid_in_order(settings):
        key, value = short(setting.key), setting.value
        check_section(setting, tree.get(key), value)
        set_key(tree, key, value)
    for key in arguments.removed:
        if not remove_key(tree, short(key)):
            parent = short(key).rpartition(".")[0]
            known = keys_of(tree)
            beside = [other for other in known if other.rpartition(".")[0] == parent]
            advice = suggestion(short(key), beside, known)
            raise UsageError(f"~{key} removes what is not there. {advice}")
    if arguments.setting("preset") == TINY:
        drop_missing(tree)
    return Configuration(composition.name, tree, composition.sources, settings, note)


def compose_typed(
    arguments: Arguments, machine: Machine
) -> tuple[Composition, tuple[Setting, ...], str]:
    """The composition, the settings that did not choose a file of conf/, and a note for the user.

    The note is on defaults that this machine decided.
    """
    if arguments.conf is None:
        raise UsageError(
            f"Which configuration? Add {' or '.join(f'conf={name}' for name in configurations())}"
            ", or conf=PATH of your own YAML file."
        )
    known = available_groups(configuration_file(arguments.conf))
    chosen = [
        s
        for s in arguments.settings
        if s.key in known and not s.text.startswith("{") and not is_path_of_policy(s)
    ]
    rest = [s for s in arguments.settings if s not in chosen]
    if any(is_path_of_policy(setting) for setting in rest):
        # Nothing that suits another model alone may stay set.
        chosen.append(Setting("model", "pretrained"))
    choices = {setting.key: setting.text for setting in chosen}
    make = compose_tiny if choices.get("preset") == TINY else compose_conf
    composition = make(arguments.conf, choices)
    defaults = gpu_defaults(composition, rest, machine) if arguments.verb in VERBS else None
    if defaults is None:
        return composition, tuple(rest), ""
    if defaults.choices:
        composition = make(arguments.conf, {**choices, **defaults.choices})
    return defaults.laid_under(composition), tuple(rest), defaults.note


def is_path_of_policy(setting: Setting) -> bool:
    """`model=` takes a choice of conf/model, a folder, or OWNER/NAME on the hub."""
    return setting.key == "model" and ("/" in setting.text or Path(setting.text).is_dir())


def as_policy_path(setting: Setting) -> Setting:
    """`model=PATH` as `policy.path=PATH`; other settings as they are."""
    return Setting("policy.path", setting.text) if is_path_of_policy(setting) else setting


def refuse_choices(settings: Sequence[Setting]) -> None:
    """Raises UsageError for `group=choice` beside --config, which holds the choices already."""
    for setting in settings:
        if setting.key in groups() and not is_path_of_policy(setting):
            raise UsageError(
                f"{setting.typed} chooses a file of conf/, but --config already gives the whole "
                f"configuration. Set {setting.key}.NAME=VALUE, or start from conf=NAME."
            )
