"""What a text on the command line means: decided by what the setting takes, not by YAML 1.1.

A setting of text keeps the text as it was typed; only `null` and `~` are null, and quotes around
the whole are taken off. All else is read as YAML 1.2: numbers are decimal, true and false are
booleans.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import yaml

from opid_lightning.cli.config.stages import as_settings

NULLS = ("null", "Null", "NULL", "~")
QUOTED = re.compile(r"""\s*(".*"|'.*')\s*""", re.S)
PLAIN = {
    "null": "|".join(NULLS) + "|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
LIKE_A_NUMBER = re.compile(r"[-+]?[0-9._]+([eE][-+]?[0-9]+)?\Z")
# Types of one value each; others hold further values, or are objects.
NUMBERS = (int, float, bool)
NOTHING = type(None)


class Loader(yaml.SafeLoader):
    """YAML 1.2: no dates, sexagesimals, octals, underscores, or words such as yes and off."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}


class Dumper(yaml.SafeDumper):
    """Texts in quotes where any reader of YAML, 1.1 or 1.2, would take them for something else."""

    yaml_implicit_resolvers: ClassVar = dict(yaml.SafeDumper.yaml_implicit_resolvers)


for tag, pattern in PLAIN.items():
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"({pattern})\\Z"), None)
# 1e5 is a text to PyYAML, and a number to jsonargparse.
Dumper.add_implicit_resolver("tag:yaml.org,2002:float", LIKE_A_NUMBER, None)


def dumped(tree: Any) -> str:
    """The tree as YAML for Lightning CLI, texts quoted where YAML would read something else."""
    return yaml.dump(
        as_settings(tree),
        Dumper=Dumper,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
    )


def read_plain(text: str) -> Any:
    """The value where nothing is known of the setting; raises yaml.YAMLError."""
    return "" if not text.strip() else yaml.load(text, Loader)


def read_as(text: str, hint: Any) -> Any:
    """The value for a setting that takes `hint`; raises yaml.YAMLError for what is no YAML."""
    kinds = set(members(hint))
    if text.strip() in NULLS:
        return None
    if takes_text(kinds) and not (text.lstrip().startswith(("{", "[")) and has_parts(kinds)):
        return unquoted(text)
    if kinds <= {int, float, NOTHING} and re.fullmatch(r"[-+]?[0-9]+", text.strip()):
        return int(text)  # 007 as well
    return read_plain(text)


def unquoted(text: str) -> str:
    """A text without the quotes around the whole of it, escapes resolved."""
    if not QUOTED.fullmatch(text):
        return text
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, str) else text


def takes_text(kinds: set[Any]) -> bool:
    """Whether each single value is a text: then 123 and true are texts, too."""
    return bool(kinds & {str, Path} or any(map(is_choice_of_texts, kinds))) and not (
        kinds & {*NUMBERS, Any} or any(map(is_choice_of_others, kinds))
    )


def is_choice_of_texts(kind: Any) -> bool:
    """Whether the type is a Literal of texts alone."""
    return get_origin(kind) is Literal and all(isinstance(word, str) for word in get_args(kind))


def is_choice_of_others(kind: Any) -> bool:
    """Whether the type is a Literal with numbers, booleans or None in it."""
    return get_origin(kind) is Literal and not is_choice_of_texts(kind)


def has_parts(kinds: set[Any]) -> bool:
    """Whether it may hold a list, a mapping or an object, too."""
    singles = (str, Path, NOTHING)
    return any(kind not in singles and get_origin(kind) is not Literal for kind in kinds)


def takes_null(hint: Any) -> bool:
    """Whether null is a value of this type."""
    return bool({NOTHING, Any} & set(members(hint)))


def takes_numbers_alone(hint: Any) -> bool:
    """Whether only numbers, or null, are values of this type."""
    return set(members(hint)) <= {*NUMBERS, NOTHING}


def members(hint: Any) -> Iterator[Any]:
    """The types of a union, or the one there is."""
    if get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from members(member)
    else:
        yield hint


def part_hint(hint: Any, value: Any) -> Any:
    """What the parts of `value` have to be, where the hint is of a list or a mapping."""
    is_mapping = isinstance(value, Mapping)
    for kind in members(hint):
        origin, arguments = get_origin(kind), get_args(kind)
        if not isinstance(origin, type) or not arguments:
            continue
        if is_mapping and issubclass(origin, Mapping):
            return arguments[1]
        if isinstance(value, list) and not is_mapping and not issubclass(origin, Mapping):
            return arguments[0]
    return None


def named(hint: Any) -> str:
    """As it is said to a user."""
    words = {bool: "true or false", NOTHING: "null", Callable: "a class_path"}
    kinds = [
        "one of " + ", ".join(map(repr, get_args(kind)))
        if get_origin(kind) is Literal
        else words.get(get_origin(kind) or kind) or getattr(kind, "__name__", str(kind))
        for kind in members(hint)
        if not (isinstance(kind, type) and issubclass(kind, Enum))
    ]
    return " or ".join(kinds)
