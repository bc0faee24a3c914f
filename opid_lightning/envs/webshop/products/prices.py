"""What a product costs: one price, or the ends of a range, from however a file writes it.

"$19.99$27.99"  "10.99"  "$10.99 - $12"  "1,299.00"  "EUR 10,99"  10.99  ""  None
"""

from __future__ import annotations

import math
import re
from typing import Any

_CURRENCY = r"(?:[^\W\d_]{1,3}[.$]?|[^\w\s.,\-\u2013\u2014])?"
_PRICE = rf"\s*{_CURRENCY}\s*(\d[\d.,]*)\s*{_CURRENCY}\s*"
_ONE_OR_RANGE = re.compile(rf"{_PRICE}(?:(?:-|\u2013|\u2014|to){_PRICE})?", re.IGNORECASE)
_AMOUNT = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_DECIMAL_COMMA = re.compile(r",\d{1,2}$")


def read_prices(value: Any) -> tuple[float, ...]:
    """Empty where nothing is said of a price; raises ValueError where what is said is no price."""
    if value is None:
        return ()
    if isinstance(value, int | float) and not isinstance(value, bool):
        prices: tuple[float, ...] = (_finite(value),)
    elif isinstance(value, str):
        prices = _from_text(value)
    else:
        raise ValueError(f"{value!r:.60} is no price")
    if not all(0 <= price < math.inf for price in prices):
        raise ValueError(f"{value!r:.60} is no price")
    return prices


def _finite(value: float) -> float:
    """Infinite where no float is as large as the whole number."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _from_text(text: str) -> tuple[float, ...]:
    if match := _ONE_OR_RANGE.fullmatch(text):
        return tuple(_number(amount) for amount in match.groups() if amount)
    # As the original reads it: what follows each dollar sign; of more than two, the first two.
    found = [_AMOUNT.search(part.replace(",", "")) for part in text.split("$")[1:]]
    if amounts := [float(amount[0]) for amount in found if amount][:2]:
        return tuple(amounts)
    if any(character.isdigit() for character in text):
        raise ValueError(f"{text!r:.60} is no price")
    return ()  # "Currently unavailable"


def _number(text: str) -> float:
    """Of dot and comma, the one that stands last is the decimal mark: 1,299.00 and 1.299,00."""
    text = text.rstrip(".,")
    if _DECIMAL_COMMA.search(text) and text.count(",") == 1:
        text = text.replace(".", "").replace(",", ".")
    text = text.replace(",", "")
    return float(text.replace(".", "") if text.count(".") > 1 else text)
