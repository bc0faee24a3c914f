"""The settings and choices that somebody may have meant by another name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from opid_lightning.cli.config.choices import configurations, groups
from opid_lightning.cli.errors import nearest

MOST = 3
CLOSE = 0.75


def suggestion(name: str, beside: Iterable[str], everything: Iterable[str]) -> str:
    """For a setting that is not there: what is close in its place, or has its name elsewhere.

    Args:
        name: what was typed, as `rollout.group_sze` or `lr`.
        beside: the settings in its place, by their whole names.
        everything: all settings, by their whole names.
    """
    word = last(name)
    beside = sorted(beside)
    keys = sorted(everything, key=lambda key: (key.count("."), key))
    same = [key for key in keys if last(key) == word or is_whole(word, key)]
    by_last = {last(key): key for key in beside}
    close = [by_last[each] for each in difflib.get_close_matches(word, by_last, n=1)]
    worded = [key for key in keys if set(word.split("_")) <= set(last(key).split("_"))]
    worded = [key for key in worded if key in beside] or worded
    words = difflib.get_close_matches(word, {last(key) for key in keys}, n=MOST, cutoff=CLOSE)
    found = same or close or worded or [key for key in keys if last(key) in words]
    return asked(found[:MOST]) if found else nearest("", beside)


def is_whole(name: str, key: str) -> bool:
    """Whether a setting of the run itself has that word: `seed_everything` for `seed`."""
    return "." not in key and name in key.split("_")


def asked(keys: list[str]) -> str:
    """The suggestions as one question, joined by "or"."""
    return f"Did you mean {' or '.join(map(repr, keys))}?"


def last(key: str) -> str:
    """The part of a dotted key behind its last dot."""
    return key.rpartition(".")[2]


def choice_like(typed: str, available: Iterable[str], conf: str) -> str:
    """For a choice that a group has not: the one of this configuration comes first."""
    available = sorted(available)
    of_conf = [choice for choice in available if conf in choice.split("_")]
    for name, choices in ((f"{conf}_{typed}", of_conf), (typed, available)):
        if close := difflib.get_close_matches(name, choices, n=1, cutoff=CLOSE):
            return asked(close)
    parts = [choice for choice in of_conf or available if typed in choice]
    return asked(parts[:MOST]) if parts else nearest(typed, available)


def typed_for(word: str) -> str:
    """For a word without `=`: the setting that it may be the value of; empty where none is."""
    if word in configurations():
        return f"conf={word}"
    for group, choices in groups().items():
        if word in choices:
            return f"{group}={word}"
    suffixes = {".yaml": "conf=", ".yml": "conf=", ".ckpt": "ckpt_path="}
    for suffix, key in suffixes.items():
        if word.endswith(suffix):
            return f"{key}{word}"
    close = difflib.get_close_matches(word, configurations(), n=1)
    return f"conf={close[0]}" if close else ""
