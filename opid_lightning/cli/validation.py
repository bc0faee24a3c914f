"""Finding names that nothing accepts, before anything is built."""

from __future__ import annotations

import inspect
import pkgutil
import traceback
from collections.abc import Iterator
from typing import Any

from jsonargparse import ArgumentParser

from opid_lightning.cli.choices import groups
from opid_lightning.cli.configuration import Configuration
from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.names import CLASS_KEYS, PLACES, Tree, short
from opid_lightning.cli.suggestions import suggestion

ELSEWHERE = {
    "trainer.callbacks": "Use callbacks.NAME.class_path=... and ~callbacks.NAME.",
    "trainer.logger": "Use logger=csv, logger=wandb or logger.NAME.class_path=...",
    "data.seed": "It follows seed_everything.",
}


def check_names(configuration: Configuration, placed: Tree, parser: ArgumentParser) -> None:
    """Raises UsageError for the first name that neither the parser nor a class accepts.

    Lightning CLI would name it as well, but not what is near it, and lets `name: {}` pass.
    """
    accepted = set(parser.get_defaults(skip_validation=True).keys(branches=True))
    for key, siblings in unknown_names(placed, accepted):
        parent, dot, _ = short(key).rpartition(".")
        beside = {f"{parent}{dot}{name}" for name in siblings}
        if not parent:
            beside = {*siblings, *PLACES, *groups()} - {"config"}
        advice = ELSEWHERE.get(key) or suggestion(
            short(key), beside, {*map(short, accepted - {*ELSEWHERE}), *settings_of_objects(placed)}
        )
        raise UsageError(
            configuration.located(f"There is no setting {short(key)!r}. {advice}", key)
        )


def settings_of_objects(tree: Any, key: str = "") -> Iterator[str]:
    """What the classes in a tree take, by the names that users type."""
    if not isinstance(tree, dict):
        return
    for name in parameters_of(tree.get("class_path")) or ():
        yield short(f"{key}.{name}")
    for name, inner in tree.items():
        yield from settings_of_objects(inner, f"{key}.{name}" if key else name)


def unknown_names(tree: Tree, accepted: set[str]) -> Iterator[tuple[str, set[str]]]:
    """Keys that are not accepted, each with the names that would be in its place."""
    branches = {key.rpartition(".")[0] for key in accepted}

    def walk(node: Tree, prefix: str) -> Iterator[tuple[str, set[str]]]:
        siblings = {k[len(prefix) :].split(".")[0] for k in accepted if k.startswith(prefix)}
        for name, value in node.items():
            key = f"{prefix}{name}"
            if key not in accepted or (key in ELSEWHERE and value is not None):
                yield key, siblings
            elif key in branches and isinstance(value, dict):
                yield from walk(value, f"{key}.")
            else:
                yield from unnamed_objects(value, key)
                yield from unknown_arguments(value, key)

    yield from walk(tree, "")


def unnamed_objects(value: Any, key: str) -> Iterator[tuple[str, set[str]]]:
    """Misspelt names of callbacks and loggers: a setting then makes an entry of no class."""
    if key in ("callbacks", "logger") and isinstance(value, dict):
        for name, inner in value.items():
            is_null = inner is None  # which `fitting` says more of
            if not is_null and (not isinstance(inner, dict) or "class_path" not in inner):
                yield f"{key}.{name}", value.keys() - {name}


def unknown_arguments(value: Any, key: str) -> Iterator[tuple[str, set[str]]]:
    """The same for objects given by class_path, wherever they are inside a value."""
    if not isinstance(value, dict):
        return
    parameters = parameters_of(value.get("class_path"))
    for name, inner in value.items():
        if name == "init_args" and isinstance(inner, dict):
            for argument, nested in inner.items():
                if parameters is not None and argument not in parameters:
                    yield f"{key}.{argument}", parameters
                yield from unknown_arguments(nested, f"{key}.{argument}")
        elif name not in CLASS_KEYS:
            yield from unknown_arguments(inner, f"{key}.{name}")


def parameters_of(class_path: Any) -> set[str] | None:
    """What a class takes; none where it does not say, or cannot be imported."""
    try:
        parameters = inspect.signature(pkgutil.resolve_name(class_path)).parameters.values()
    except (ImportError, AttributeError, TypeError, ValueError):
        return None  # Lightning CLI tells why
    except Exception as error:  # importing a module runs whatever is in it
        raise UsageError(f"{class_path} cannot be imported: {told(error)}") from error
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}


def told(error: Exception) -> str:
    """What was raised, and in which line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename}, line {last.lineno}"
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {reason} ({place})"
