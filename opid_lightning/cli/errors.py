"""Errors that a user can cause, and what they print."""

from __future__ import annotations

import difflib
import dis
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import CodeType

PACKAGE = Path(__file__).parents[1]
LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
MAY_REFUSE = ("__init__", "__post_init__", "tasks")  # of classes that users bring
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


def unused(verb: str, typed: str, inputs: Iterable[str]) -> str:
    """For a word that the verb has no use for: the one that may be meant, and all there are."""
    inputs = list(inputs)
    near = nearest(typed.lstrip("-~").partition("=")[0], inputs)
    meant = f" {near}" if near.startswith("Did you mean") else ""
    return f"{verb} does not use {typed}.{meant} It reads {', '.join(inputs)}."


def is_for_the_user(error: ValueError) -> bool:
    """Whether a `raise` statement of ours said it: those name a setting, and how to fix it.

    What a library raised, or Python itself (an empty `max`, a `zip` of unequal lengths), is a bug
    of ours, and its traceback is wanted. A class that the user brought may say in its constructor
    and in `tasks` what it misses; elsewhere what it raises is a bug of its own.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    if getattr(error, "is_a_bug", False):  # raised in a worker process, and again in ours
        return False
    if not frames or not is_raise_statement(*last_instruction(error)):
        return False
    files = [Path(frame.f_code.co_filename).absolute() for frame, _ in frames]
    if PACKAGE in files[-1].parents:
        return True
    brought = [
        frame.f_code.co_name
        for (frame, _), file in zip(frames, files, strict=True)
        if PACKAGE not in file.parents and not is_of_a_library(file)
    ]
    return not is_of_a_library(files[-1]) and any(name in MAY_REFUSE for name in brought)


def last_instruction(error: BaseException) -> tuple[CodeType, int]:
    """The one that raised it."""
    entry = error.__traceback__
    assert entry is not None
    while entry.tb_next is not None:
        entry = entry.tb_next
    return entry.tb_frame.f_code, entry.tb_lasti


def is_raise_statement(code: CodeType, offset: int) -> bool:
    """Whether the bytecode at this offset raises, rather than calls something that did."""
    return dis.opname[code.co_code[offset]] == "RAISE_VARARGS"


def is_of_a_library(file: Path) -> bool:
    """Whether a file of a traceback is Python's, a package's, or none at all."""
    return any(folder in file.parents for folder in LIBRARIES) or not file.is_file()


def own_error(error: ValueError) -> ValueError | None:
    """The error for the user that it is, or that a library has wrapped."""
    if is_for_the_user(error):
        return error
    return own_error(error.__cause__) if isinstance(error.__cause__, ValueError) else None
