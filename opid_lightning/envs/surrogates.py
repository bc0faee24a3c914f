"""Halves of UTF-16 pairs, which JSON can hold and no text can: replaced where they come in."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from opid_lightning.files.omissions import warn_once
from opid_lightning.gate import without_lone_surrogates

_log = logging.getLogger(__name__)


def clean_members(
    members: Iterable[tuple[int, Any]], path: Path, name: str
) -> Iterator[tuple[int, Any]]:
    """JSON values of a file, in clean text; what had to be replaced is counted and reported."""
    places = []
    for number, found in members:
        clean = without_surrogates(found)
        if clean != found:
            places.append(number)
        yield number, clean
    if places:
        warn_once(
            _log,
            f"{path}: lone surrogates in {len(places):,} {name}s (such as {name} {places[0]}) are "
            "read as U+FFFD",
        )


def without_surrogates(value: Any) -> Any:
    """JSON values with U+FFFD for each lone surrogate; pairs are joined."""
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, dict):
        return {
            without_lone_surrogates(key): without_surrogates(content)
            for key, content in value.items()
        }
    if isinstance(value, list):
        return [without_surrogates(content) for content in value]
    return value
