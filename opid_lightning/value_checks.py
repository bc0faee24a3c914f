"""Checks of settings, made by the class that owns the setting."""

from __future__ import annotations

import dataclasses
import functools
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

LARGEST = 1e12  # no sensible setting is larger, and loops and arrays of such a size never end
# Squares of larger advantages and gradients overflow in float32, and their differences vanish.
LARGEST_REWARD = 1e9
LARGEST_SEED = 2**32 - 1  # that numpy takes
LEAST_TEMPERATURE = 0.01  # as vLLM's; logits divided by much less overflow
LONGEST_S = 1e9  # thirty years; what waits for longer overflows


def check_range(
    name: str,
    value: float | None,
    *,
    at_least: float = -float("inf"),
    above: float = -float("inf"),
    at_most: float = LARGEST,
    below: float = float("inf"),
    or_null: bool = False,
    hint: str = "",
) -> None:
    """Raises ValueError, naming the setting, unless the value is a number within the bounds.

    NaN and infinities never are.
    """
    if value is None and or_null:
        return
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and at_least <= value <= at_most and above < value < below:  # type: ignore[operator]
        return
    bounds = {"at least": at_least, "more than": above, "at most": at_most, "less than": below}
    is_too_large = is_number and value > LARGEST  # type: ignore[operator]
    limits = [
        f"{word} {bound:g}"
        for word, bound in bounds.items()
        if abs(bound) < LARGEST or (word == "at most" and is_too_large)
    ]
    expected = " and ".join(limits) or "a finite number"
    raise ValueError(
        f"{name} is {'null' if value is None else value}; expected {expected}"
        + (", or null" if or_null else "")
        + (f" ({hint})" if hint else "")
    )


def check_temperature(name: str, value: float) -> None:
    """Raises unless it is one to sample at, or 0, which is greedy."""
    check_range(name, value, at_least=0, hint="0 is greedy")
    if 0 < value < LEAST_TEMPERATURE:
        raise ValueError(
            f"{name} is {value:g}; expected 0, which is greedy, or at least {LEAST_TEMPERATURE}: "
            "logits divided by less overflow"
        )


def check_word(name: str, value: object, words: Any) -> None:
    """Raises ValueError unless the value is one of the words of a Literal."""
    if value not in (known := get_args(words)):
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")


def check_words(owner: str, settings: object) -> None:
    """The same for each field of a dataclass whose type is a Literal."""
    kind: Any = type(settings)
    for name, words in _fields_of_words(kind).items():
        check_word(f"{owner}.{name}", getattr(settings, name), words)


@functools.cache
def _fields_of_words(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: hints[name] for name in names if get_origin(hints[name]) is Literal}
