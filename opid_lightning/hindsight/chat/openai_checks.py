"""The ranges of the analyst OpenAI's settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# What `extra_body` may not say, and which setting says it; without one, nothing may.
OWN_FIELDS = {
    "model": "model",
    "messages": None,
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "response_format": "structured",
    "stream": None,
    "n": None,
}


def check_extra_body(extra_body: Mapping[str, Any] | None) -> None:
    """Raises ValueError where it is not JSON or sets a field that the analyst sets itself."""
    for name in (extra_body or {}).keys() & OWN_FIELDS.keys():
        own = OWN_FIELDS[name]
        advice = f"Set {own} instead." if own else "The analyst needs it as it is."
        raise ValueError(f"OpenAI.extra_body sets {name!r}. {advice}")
    try:
        json.dumps(extra_body, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"OpenAI.extra_body is no JSON ({error}); expected names and values."
        ) from None
