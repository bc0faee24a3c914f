"""Fields of a row, however they are spelled: `_id` is `id`, `QuestionId` is `question_id`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def field(values: Any, *names: str) -> Any:
    """What stands under the first name, in that under the second, and so on; else None."""
    for name in names:
        values = _one(values, name) if isinstance(values, Mapping) else None
    return values


def first_field(values: Any, *names: str) -> Any:
    """Under the first of these names that holds anything."""
    found = (field(values, name) for name in names)
    return next((value for value in found if value not in (None, "")), None)


def _one(values: Mapping[str, Any], name: str) -> Any:
    if name in values:
        return values[name]
    plain = _plain(name)
    return next((value for key, value in values.items() if _plain(key) == plain), None)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
