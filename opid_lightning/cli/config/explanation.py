"""Putting what jsonargparse found wrong into one sentence that names what the user typed."""

from __future__ import annotations

import inspect
import pkgutil
import re
from typing import Any

import lightning

from opid_lightning import protocols
from opid_lightning.cli.config.choices import groups
from opid_lightning.cli.config.class_names import why_not_found
from opid_lightning.cli.config.configuration import Configuration
from opid_lightning.cli.config.hints import types_of_class
from opid_lightning.cli.config.names import Tree, short
from opid_lightning.cli.config.suggestions import suggestion
from opid_lightning.cli.config.validation import parameters_of
from opid_lightning.cli.errors import nearest
from opid_lightning.training.implementation_checks import differences

NAMED = re.compile(r'Parser key "([^"]+)"')
CLASS_PATH = re.compile(r"Problem with given class_path '([^']+)'")
EXPECTED = re.compile(r"Expected an? (?!dot import path)(?!path)(.+?)(?:\. Got value: .*)?$", re.M)
NULL = "<class 'NoneType'>"
MENTIONED = re.compile(r"\b[A-Za-z_]+(?:\.[a-z_0-9]+)+")
NOT_ACCEPTED = re.compile(r"Option '([^']+)' is not accepted")
NOT_IN_GROUP = re.compile(r"Group '([^']+)' does not accept option '([^']+)'")
NO_PROTOCOL = re.compile(r"Import path (?P<kind>\S+) does not implement protocol (?P<protocol>\w+)")
CALLABLE = re.compile(r"expects a function or a callable class: (.*?)(?:\. Got value: .*)?$")
REQUIRED = re.compile(r"the following arguments are required: (?:\w+\.)?(\S+)")


def explain(message: str, configuration: Configuration, placed: Tree) -> str:
    """What is wrong with which setting, and where it was set."""
    named, class_paths = NAMED.findall(message), CLASS_PATH.findall(message)
    if missing := REQUIRED.search(message):
        holder = f"{locate(named, class_paths, placed)[0]}." if named and class_paths else ""
        key = short(f"{holder}{missing[1].rstrip(',')}")
        choices = "|".join(groups().get(key, ()))
        return f"{key} is not set. Set {key}={choices or 'VALUE'}."
    if not named:
        return message.strip()
    key, value = locate(named, class_paths, placed)
    if unknown := NOT_ACCEPTED.search(message):
        name = f"{short(key)}.{unknown[1]}"
        known = parameters_of(class_paths[0], key) if class_paths else None
        siblings = (f"{short(key)}.{other}" for other in known or ())
        return configuration.located(
            f"There is no setting {name!r}. {nearest(name, siblings)}", f"{key}.{unknown[1]}"
        )
    if in_group := NOT_IN_GROUP.search(message):
        return unknown_in_group(key, class_paths, in_group[1], in_group[2], configuration)
    if absent := why_not_found(message, class_named(class_paths, value)):
        return configuration.located(f"{short(key)}: {absent}", f"{key}.class_path")
    if expected := expectations(message, short(key)):
        kinds = " or ".join(dict.fromkeys(readable(kind) for kind in expected))
        return configuration.located(f"{short(key)} is {value!r}. Expected {kinds}.", key)
    reason = last_line(message)
    if callable_class := CALLABLE.search(reason):
        reason = callable_class[1]
    if unfit := NO_PROTOCOL.search(reason):
        reason = unlike(unfit["kind"], unfit["protocol"])
    return configuration.located(f"{short(key)}: {reason}", key)


def unknown_in_group(
    key: str, class_paths: list[str], group: str, option: str, configuration: Configuration
) -> str:
    """A field of a dataclass that is an argument of a class."""
    owner = f"{key}.{group}"
    taken = types_of_class(pkgutil.resolve_name(class_paths[-1])) if class_paths else {}
    beside = [f"{short(key)}.{name}" for name in taken if name.rpartition(".")[0] == group]
    name = f"{short(owner)}.{option}"
    advice = suggestion(name, beside, beside)
    return configuration.located(f"There is no setting {name!r}. {advice}", f"{owner}.{option}")


def class_named(class_paths: list[str], value: Any) -> str:
    """The innermost class that a message is about."""
    if class_paths:
        return class_paths[-1]
    return str(value.get("class_path", "")) if isinstance(value, dict) else ""


def unlike(kind: str, protocol: str) -> str:
    """Which methods of a class are not as the protocol has them."""
    found = list(differences(pkgutil.resolve_name(kind), getattr(protocols, protocol)))
    return (
        f"{kind} does not implement {protocol} (opid_lightning/protocols.py): {'; '.join(found)}."
    )


def expectations(message: str, key: str) -> list[str]:
    """What was expected; inside an object, not that the object itself may be null."""
    found = EXPECTED.findall(message)
    if found == [NULL]:
        return [f"its settings one by one, as {key}.NAME=VALUE,", NULL]
    is_of_an_object = CLASS_PATH.search(message) is not None
    return [kind for kind in found if kind != NULL or not is_of_an_object]


def locate_mentioned(message: str, configuration: Configuration) -> str:
    """A message of a class about its own arguments, and where the first it names was set.

    A class does not know under which name it was configured, so its argument's name decides.
    """
    for key in MENTIONED.findall(message):
        if configuration.where(key):
            return configuration.located(message, key)
        for setting in configuration.typed:
            if setting.key.split(".")[-1] == key.split(".")[-1]:
                return configuration.located(message, setting.key)
    return message


def explain_trainer(message: str, configuration: Configuration) -> str:
    """What Lightning's Trainer says of its own arguments, with the setting that it is about."""
    unnamed = {
        "Timer(duration=": "max_time",
        "index-sized integer": "devices",
        "torch_xla": "accelerator",
    }
    spoken = " ".join([message, *(name for words, name in unnamed.items() if words in message)])
    for name in inspect.signature(lightning.Trainer).parameters:
        if re.search(rf"\b{name}\b", spoken) and configuration.where(f"trainer.{name}"):
            return configuration.located(f"trainer.{name}: {message}", f"trainer.{name}")
    return f"trainer: {message}"


def locate(named: list[str], class_paths: list[str], placed: Tree) -> tuple[str, Any]:
    """The whole key, and its value: messages leave out which of several objects it is in."""
    outer, inner = named[0], [part for name in named[1:] for part in name.split(".")]
    node: Any = placed
    for part in outer.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict) and "class_path" not in node and class_paths:
        holders = [
            (f"{outer}.{name}", value)
            for name, value in node.items()
            if isinstance(value, dict) and value.get("class_path") == class_paths[0]
        ]
        # None holds an object that has no class_path because only one class is possible.
        outer, node = holders[0] if holders else (outer, node)
    for part in inner:
        node = node.get("init_args", node).get(part) if isinstance(node, dict) else None
        outer = f"{outer}.{part}"
    return outer, node


def readable(kind: str) -> str:
    """A type as jsonargparse prints it, in words that users know."""
    kind = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", kind).strip()
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", kind)
    return f"one of {literal[1]}" if literal else kind.replace("NoneType", "null")


def last_line(message: str) -> str:
    """The last line of a nested message, which says what is wrong."""
    return [line.strip(" -") for line in message.splitlines() if line.strip()][-1]
