"""How long a server asks to be left alone."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def seconds_of(headers: Mapping[str, str]) -> float | None:
    """The wait that a Retry-After header names, in seconds or as a date; none where it names none.

    What is in the past, and what is no number of seconds, is no wait at all.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return seconds_until(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def seconds_until(date: str) -> float | None:
    """Seconds until an HTTP date, at least 0; None where it is none."""
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
