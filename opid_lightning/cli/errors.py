"""Errors that a user can cause, and what they print."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
MAX_LISTED = 12


class UsageError(Exception):
    """What was typed, or a file that it names, cannot be run as it is."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The sentence that helps with a misspelt name: what is close to it, or else all there is."""
    choices = sorted(valid)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    if not choices:
        return "There are none."
    more = ", ..." if len(choices) > MAX_LISTED else ""
    return f"There are: {', '.join(choices[:MAX_LISTED])}{more}."


def is_for_the_user(error: ValueError) -> bool:
    """Whether our own code raised it: those name a setting, and say how to put it right.

    One that a library raised is a bug of ours, and its traceback is wanted.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and PACKAGE in Path(frames[-1].filename).absolute().parents


def own_error(error: ValueError) -> ValueError | None:
    """The error of our own code that it is, or that a library has wrapped."""
    if is_for_the_user(error):
        return error
    return own_error(error.__cause__) if isinstance(error.__cause__, ValueError) else None
