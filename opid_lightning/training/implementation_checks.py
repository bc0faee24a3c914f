"""What an own class lacks of a protocol, said by the method that differs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from opid_lightning.gate import name_of

BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_implements(name: str, value: object, protocol: type) -> None:
    """Raises, naming the setting, where an object lacks an attribute of the protocol.

    Methods are compared by the class alone; attributes may be set by its constructor.
    """
    lacking = [each for each in attributes_of(protocol) if not hasattr(value, each)]
    if lacking:
        raise ValueError(
            f"{name}: {name_of(value)} has no {' and no '.join(lacking)}, "
            f"which every {protocol.__name__} needs (opid_lightning/protocols.py). Add "
            f"{'it' if len(lacking) == 1 else 'them'} to the class."
        )


def attributes_of(protocol: type) -> list[str]:
    """What is no method: annotated names and properties."""
    properties = [name for name, each in vars(protocol).items() if isinstance(each, property)]
    return [*getattr(protocol, "__annotations__", {}), *properties]


def methods_of(protocol: type) -> dict[str, Any]:
    """What a protocol asks for: its public methods, and `__call__`."""
    members = inspect.getmembers(protocol, inspect.isfunction)
    return {name: each for name, each in members if name == "__call__" or name[0] != "_"}


def differences(kind: type, protocol: type) -> Iterator[str]:
    """How the methods of a class differ from those of the protocol; nothing where it fits."""
    for name, expected in methods_of(protocol).items():
        wanted = f"def {name}{signature_of(expected)}"
        found = inspect.getattr_static(kind, name, None)
        function = found.__func__ if isinstance(found, staticmethod | classmethod) else found
        if function is None:
            yield f"expected {wanted}"
        elif not inspect.isfunction(function):
            yield f"expected {wanted}, got {type(function).__name__}"
        elif not can_be_called(found, function, expected):
            yield f"expected {wanted}, got {name}{signature_of(function)}"


def can_be_called(found: Any, function: Any, expected: Any) -> bool:
    """Whether it takes what the protocol's method takes, by position and by name."""
    own = list(inspect.signature(function).parameters.values())
    own = own if isinstance(found, staticmethod) else own[1:]
    names = [each.name for each in own if each.kind in BY_POSITION]
    asked = list(inspect.signature(expected).parameters.values())[1:]
    if any(each.kind is each.VAR_POSITIONAL for each in own):
        return True
    further = own[len(asked) :] if names[: len(asked)] == [each.name for each in asked] else None
    return further is not None and all(
        each.default is not each.empty or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        for each in further
    )


def signature_of(function: Any) -> str:
    """Its parameters by name, without annotations."""
    parameters = inspect.signature(function).parameters.values()
    bare = [each.replace(annotation=each.empty) for each in parameters]
    return str(inspect.Signature(bare))
