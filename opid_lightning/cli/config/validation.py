"""Finding names that nothing accepts, before anything is built."""

from __future__ import annotations

import inspect
import pkgutil
import traceback
from collections.abc import Iterator
from typing import Any

from jsonargparse import ArgumentParser

from opid_lightning.cli.config.choices import groups
from opid_lightning.cli.config.configuration import Configuration
from opid_lightning.cli.config.names import PLACES, Tree, short, value_at
from opid_lightning.cli.config.stages import CLASS_KEYS
from opid_lightning.cli.config.suggestions import suggestion
from opid_lightning.cli.errors import UsageError

ELSEWHERE = {
    "trainer.callbacks": "Use callbacks.NAME.class_path=... and ~callbacks.NAME.",
    "trainer.logger": "Use logger=csv, logger=wandb or logger.NAME.class_path=...",
    "data.seed": "It follows seed_everything.",
}
# Makers of objects, which the run calls with their first argument.
GIVEN = {
    "logger": "It is the run's folder: set trainer.default_root_dir.",
    "model.optimizer": "The run gives it the policy's weights.",
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
        advice = (
            ELSEWHERE.get(key)
            or advice_on_given(key, placed)
            or suggestion(
                short(key),
                beside,
                {*map(short, accepted - {*ELSEWHERE}), *settings_of_objects(placed)},
            )
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
        siblings = {
            k[len(prefix) :].split(".")[0]
            for k in accepted
            if k.startswith(prefix) and k not in ELSEWHERE
        }
        for name, value in node.items():
            key = f"{prefix}{name}"
            if key not in accepted or (key in ELSEWHERE and value is not None):
                yield key, siblings
            elif key in branches and isinstance(value, dict) and "class_path" not in value:
                yield from walk(value, f"{key}.")
            else:
                yield from unnamed_objects(value, key)
                yield from unknown_arguments(value, key)

    yield from walk(tree, "")


def unnamed_objects(value: Any, key: str) -> Iterator[tuple[str, set[str]]]:
    """Misspelt names of callbacks and loggers: a setting then makes an entry of no class."""
    if key in ("callbacks", "logger") and isinstance(value, dict):
        for name, inner in value.items():
            # Of what is no mapping, `fitting` says more.
            if isinstance(inner, dict) and "class_path" not in inner:
                yield f"{key}.{name}", value.keys() - {name}


def unknown_arguments(value: Any, key: str) -> Iterator[tuple[str, set[str]]]:
    """The same for objects given by class_path, wherever they are inside a value."""
    if not isinstance(value, dict):
        return
    path = value.get("class_path")
    parameters, given = parameters_of(path, key), given_to(path, key)
    for name, inner in value.items():
        if name == "init_args" and isinstance(inner, dict):
            for argument, nested in inner.items():
                if argument == given or (parameters is not None and argument not in parameters):
                    yield f"{key}.{argument}", parameters or set()
                yield from unknown_arguments(nested, f"{key}.{argument}")
        elif name not in CLASS_KEYS:
            yield from unknown_arguments(inner, f"{key}.{name}")


def parameters_of(class_path: Any, key: str = "") -> set[str] | None:
    """What a class takes from the user; none where it does not say, or cannot be imported."""
    parameters = signature_of(class_path)
    if parameters is None or any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    return {parameter.name for parameter in parameters} - {given_to(class_path, key)}


def given_to(class_path: Any, key: str) -> str | None:
    """The argument that the run itself gives to the object at `key`, if there is one."""
    is_given = key == "model.optimizer" or (key.startswith("logger.") and key.count(".") == 1)
    parameters = signature_of(class_path) if is_given else None
    return parameters[0].name if parameters else None


def advice_on_given(key: str, placed: Tree) -> str:
    """What the run gives to the object that this is an argument of; else empty."""
    owner, _, name = key.rpartition(".")
    holder = value_at(placed, owner) if owner else None
    path = holder.get("class_path") if isinstance(holder, dict) else None
    kind = "logger" if owner.startswith("logger.") else owner
    return GIVEN[kind] if path and name == given_to(path, owner) else ""


def signature_of(class_path: Any) -> list[inspect.Parameter] | None:
    """The parameters of a class by path.

    None where it cannot be found, UsageError where its module fails.
    """
    try:
        return list(inspect.signature(pkgutil.resolve_name(class_path)).parameters.values())
    except (ImportError, AttributeError, TypeError, ValueError):
        return None  # Lightning CLI tells why
    except Exception as error:  # importing a module runs whatever is in it
        raise UsageError(f"{class_path} cannot be imported: {describe_error(error)}") from error


def describe_error(error: Exception) -> str:
    """What was raised, and in which line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename}, line {last.lineno}"
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {reason} ({place})"
