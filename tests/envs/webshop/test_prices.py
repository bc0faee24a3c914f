"""Prices in the forms that shops and spreadsheets write them."""

from __future__ import annotations

from typing import Any

import pytest

from opid_lightning.envs.webshop.products.prices import read_prices


@pytest.mark.parametrize(
    ("written", "prices"),
    [
        ("$19.99", (19.99,)), ("$19.99$27.99", (19.99, 27.99)), ("$1$2$3", (1.0, 2.0)),
        ("10.99", (10.99,)), ("$10.99 - $12", (10.99, 12.0)), ("$10.99-12", (10.99, 12.0)),
        ("10 \u2013 12", (10.0, 12.0)), ("10.5 to 12", (10.5, 12.0)), (" $ 5 ", (5.0,)),
        ("1,299.00", (1299.0,)), ("$1,299", (1299.0,)), ("$1,299.00$2,000.50", (1299.0, 2000.5)),
        ("1.299,00 EUR", (1299.0,)), ("EUR 10,99", (10.99,)), ("10,99 \u20ac", (10.99,)),
        ("1.234.567", (1234567.0,)), ("\u00a35", (5.0,)), ("US$ 7.50", (7.5,)), ("10$", (10.0,)),
        ("CDN$ 8", (8.0,)), ("Rs. 500", (500.0,)), ("12.", (12.0,)),
        ("\u20b91,00,000.00", (100000.0,)),
        ("$10.99 ($0.50 / count)", (10.99, 0.5)),  # the original takes both, too
        (10.99, (10.99,)), (3, (3.0,)), (0, (0.0,)),
        ("", ()), (None, ()), (" ", ()), ("N/A", ()), ("Currently unavailable", ()), ("$", ()),
    ],
)  # fmt: skip
def test_a_price_is_read_however_it_is_written(written: Any, prices: tuple[float, ...]) -> None:
    assert read_prices(written) == prices


@pytest.mark.parametrize(
    "written", [-1, -0.5, True, [3], {}, float("nan"), float("inf"), "call 555", "10 11 12", "2x3"]
)
def test_what_is_no_price_is_refused_rather_than_taken_for_100(written: Any) -> None:
    with pytest.raises(ValueError, match="is no price"):
        read_prices(written)
