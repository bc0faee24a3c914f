"""Typed texts and null, held against what each setting takes, before anything is built."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from opid_lightning.cli.config.arguments import Setting
from opid_lightning.cli.config.configuration import Configuration, laid_in_order
from opid_lightning.cli.config.hints import Section, hint_of
from opid_lightning.cli.config.names import (
    Tree,
    is_path_of_class,
    leaves_of,
    set_key,
    short,
    value_at,
)
from opid_lightning.cli.config.typed_classes import NAMED_OBJECTS
from opid_lightning.cli.config.typed_values import (
    members,
    named,
    part_hint,
    read_as,
    takes_null,
    takes_numbers_alone,
    takes_text,
)
from opid_lightning.cli.errors import UsageError

Hint = Callable[[str], Any]
DECIDED = ("ckpt_path", "trainer.default_root_dir")  # by `folders`, from what was typed


def fitted(
    configuration: Configuration,
    placed: Tree,
    parser: ArgumentParser,
    place_of: Callable[[str], str] = str,
) -> Tree:
    """The tree with each typed text read as its setting wants it.

    Raises UsageError for null, texts and class paths where they cannot be meant.
    """
    tree = copy.deepcopy(placed)
    for setting in laid_in_order(configuration.typed):
        key = place_of(short(setting.key))
        is_there = key not in DECIDED and value_at(tree, key) is not KeyError
        if is_there and "${" not in setting.text:
            set_key(tree, key, value_of(setting, key, lambda key: hint_of(parser, tree, key)))
    check_values(configuration, tree, parser)
    return tree


def value_of(setting: Setting, key: str, hint_at: Hint) -> Any:
    """The typed text as the setting's type reads it; raises UsageError where it is not YAML."""
    hint = hint_at(key)
    try:
        value = setting.value if hint in (None, Section) else read_as(setting.text, hint)
        if not isinstance(value, (Mapping, list)):
            return value
        texts = yaml.load(setting.text, yaml.BaseLoader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", error)
        raise UsageError(
            f"The value of {setting.typed!r} is not YAML: {problem}. Expected "
            f"{named(hint) if hint not in (None, Section) else 'a value'}."
        ) from error
    return with_texts(value, texts, key, hint, hint_at)


def with_texts(value: Any, text: Any, key: str, hint: Any, hint_at: Hint) -> Any:
    """The parts of a typed list or mapping, with 123 and true as texts where texts are wanted."""
    if isinstance(value, Mapping) and isinstance(text, Mapping):
        return {
            name: with_texts(
                inner, text.get(str(name)), f"{key}.{name}", hint_at(f"{key}.{name}"), hint_at
            )
            for name, inner in value.items()
        }
    if isinstance(value, list) and isinstance(text, list):
        part = part_hint(hint, value)
        return [
            with_texts(inner, inner_text, key, part, hint_at)
            for inner, inner_text in zip(value, text, strict=True)
        ]
    wants_text = hint is not None and takes_text(set(members(hint)))
    return text if wants_text and value is not None and isinstance(text, str) else value


def check_values(configuration: Configuration, tree: Tree, parser: ArgumentParser) -> None:
    """Raises UsageError for the first value that its setting does not take."""
    for key, value in leaves_of(tree):
        hint = hint_of(parser, tree, key)
        if key.endswith("class_path"):
            expected = "" if is_path_of_class(value) else "the path of a class, as package.Name"
        elif hint is Section:
            expected = f"its settings one by one, as {short(key)}.NAME=VALUE"
        elif key.split(".")[0] in NAMED_OBJECTS and key.count(".") == 1:
            expected = f"an object with a class_path; ~{key} takes it away"
        else:
            expected = expected_of(value, hint)
        if expected:
            shown = "null" if value is None else repr(value)
            raise UsageError(
                configuration.located(f"{short(key)} is {shown}. Expected {expected}.", key)
            )


def expected_of(value: Any, hint: Any) -> str:
    """What was expected instead; empty where the value can be meant."""
    if hint is None:
        return ""
    is_wrong = value is None and not takes_null(hint)
    is_wrong |= isinstance(value, str) and takes_numbers_alone(hint)
    return named(hint) if is_wrong else ""
