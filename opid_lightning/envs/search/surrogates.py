"""Halves of UTF-16 pairs, which JSON can hold and no text can: replaced where they come in."""

from __future__ import annotations

from typing import Any

REPLACEMENT = "\ufffd"


def without_surrogates(value: Any) -> Any:
    """JSON values with U+FFFD for each lone surrogate; pairs are joined."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(key): without_surrogates(content) for key, content in value.items()}
    if isinstance(value, list):
        return [without_surrogates(content) for content in value]
    return value


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
