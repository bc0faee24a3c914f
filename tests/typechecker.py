"""The checker that executes annotations in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

SHAPED = ("Float[", "Int[", "Bool[", "Shaped[")
# An int is a float, as everywhere else in Python.
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks functions and dataclasses that speak of shapes.

    The others are left as users meet them: a wrong word must reach the check that explains it.
    """
    annotations = map(str, getattr(function, "__annotations__", {}).values())
    if any(shape in annotation for annotation in annotations for shape in SHAPED):
        return _beartype(function)
    return function
