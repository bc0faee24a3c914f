"""Halves of UTF-16 pairs, which JSON can hold and no text can: replaced where they come in."""

from __future__ import annotations

from typing import Any

from opid_lightning.gate import without_lone_surrogates


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
