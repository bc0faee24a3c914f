"""Finding what a configuration would import from elsewhere, without importing it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ArgumentParser

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.config.configuration import Configuration
from opid_lightning.cli.config.hints import Section, hint_of
from opid_lightning.cli.config.names import Tree, short
from opid_lightning.cli.config.trust import TRUSTED, Trust
from opid_lightning.cli.config.typed_values import NOTHING, NUMBERS, members
from opid_lightning.cli.errors import UsageError

IMPORTED = re.compile(r"[A-Za-z_]\w*([.:][A-Za-z_]\w*)+")
PLAIN = (str, Path, NOTHING, Any, *NUMBERS)


def check_foreign(
    arguments: Arguments, configuration: Configuration, tree: Tree, parser: ArgumentParser
) -> str:
    """What to say before a run imports classes from elsewhere; empty where it imports none.

    Raises UsageError where the configuration is only looked at.
    """
    found = foreign_settings(tree, parser, Trust.of(arguments))
    if not found:
        return ""
    named = ", ".join(f"{short(key)}={text}" for key, text in found)
    said = configuration.located(
        f"The configuration names code that is not part of {', '.join(TRUSTED)}: {named}.",
        found[0][0],
    )
    if arguments.only_looks:
        raise UsageError(
            f"{said}\n  Reading it would import, and so run, that code. Nothing was imported. If "
            "you trust it, add --trust."
        )
    return f"{said}\n  It is imported now."


def foreign_settings(tree: Tree, parser: ArgumentParser, trust: Trust) -> list[tuple[str, str]]:
    """Each setting that would import something from elsewhere, or read it from a further file."""
    texts = list(texts_of(tree))
    classes = [(key, text) for key, text in texts if names_code(key) and not trust.covers(text)]
    if classes:
        return classes  # types of their settings are not known without importing them
    return [
        (key, text)
        for key, text in texts
        if not names_code(key)
        and (IMPORTED.fullmatch(text) or is_file(text))
        and not trust.covers(text)
        and may_import(hint_of(parser, tree, key))
    ]


def names_code(key: str) -> bool:
    """`config` is a further file of settings to Lightning CLI."""
    return key == "config" or key.rpartition(".")[2] == "class_path"


def texts_of(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text with its key, that of the list for texts in lists."""
    if isinstance(tree, Mapping):
        for name, inner in tree.items():
            yield from texts_of(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for inner in tree:
            yield from texts_of(inner, key)
    elif isinstance(tree, str):
        yield key, tree


def may_import(hint: Any) -> bool:
    """Whether a text can stand for an object there, which is then imported by that text."""
    if hint is None or hint is Section:  # of these no text is accepted, or none is looked into
        return False
    return any(makes_object(kind) for kind in members(hint))


def makes_object(kind: Any) -> bool:
    """Whether a setting of this type may hold an object that a class_path builds."""
    if kind in PLAIN or get_origin(kind) is Literal:
        return False
    if isinstance(kind, type) and issubclass(kind, Enum):
        return False
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, (list, tuple, set, frozenset, Mapping)):
        return any(may_import(part) for part in get_args(kind) if part is not ...)
    return True


def is_file(text: str) -> bool:
    """Whether the text is the path of a file; False for what cannot be a path."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long, or with a null character
        return False
