"""What a shopper is asked to buy, made of products as the original makes it.

A synthetic goal is a product's instruction with one combination of its options; a human goal is
what a person asked for. Both get a price limit drawn from the round prices above the product's.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from opid_lightning.envs.webshop.products.product import Product, Wish

GoalKind = Literal["synthetic", "human", "both"]
NO_LIMIT = 1_000_000.0  # of products that cost more than all but one of the round prices

_ROUND_PRICES = [10.0 * tens for tens in range(1, 100)]
_NUM_NEAREST = 4  # of those above the price; of two of them the higher is the limit


@dataclass(frozen=True)
class Goal:
    """A wish with its limit, and of the product it was made of what the reward compares with."""

    product_id: str
    text: str
    title: str
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]
    options: Mapping[str, str] | tuple[str, ...]  # value by name, or of human goals values alone
    price_limit: float

    @property
    def option_values(self) -> tuple[str, ...]:
        """The option values that are asked for, whichever form the options have."""
        options = self.options
        return tuple(options.values()) if isinstance(options, Mapping) else options


def num_goals(product: Product, kind: GoalKind) -> int:
    """How many `goal_of` can make of it; wishes without attributes make none."""
    return _num_synthetic(product, kind) + len(_human_wishes(product, kind))


def goal_of(product: Product, number: int, kind: GoalKind, seed: int) -> Goal:
    """Synthetic ones come first, in the order of the option combinations."""
    num_synthetic = _num_synthetic(product, kind)
    if number < num_synthetic:
        assert product.wish is not None
        limit, limit_text = _limit(product, seed, "synthetic")
        options = _combination(product.options, number)
        chosen = ", and ".join(f"{name}: {value}" for name, value in options.items())
        text = product.wish.instruction + (f" with {chosen}" if chosen else "") + limit_text
        return _goal(product, product.wish, options, text, limit)
    wish = _human_wishes(product, kind)[number - num_synthetic]
    limit, limit_text = _limit(product, seed, f"human {number - num_synthetic}")
    return _goal(product, wish, wish.options, wish.instruction.strip(".") + limit_text, limit)


def _num_synthetic(product: Product, kind: GoalKind) -> int:
    if kind == "human" or product.wish is None:
        return 0
    return math.prod(len(values) for values in product.options.values())


def _human_wishes(product: Product, kind: GoalKind) -> list[Wish]:
    return [w for w in product.human_wishes if w.attributes] if kind != "synthetic" else []


def _combination(options: Mapping[str, tuple[str, ...]], number: int) -> dict[str, str]:
    """By name in alphabetical order, the last one changing fastest."""
    names = sorted(options)
    values = next(itertools.islice(itertools.product(*map(options.get, names)), number, None))  # type: ignore[arg-type]
    return dict(zip(names, values, strict=True))


def _limit(product: Product, seed: int, mark: str) -> tuple[float, str]:
    """With what the instruction says of it. One draw serves all combinations of a product."""
    price = product.price(seed)
    above = [limit for limit in _ROUND_PRICES if limit > price][:_NUM_NEAREST]
    if len(above) < 2:
        return NO_LIMIT, ""
    limit = max(random.Random(f"limit {seed} {product.id} {mark}").sample(above, 2))
    return limit, f", and price lower than {limit:.2f} dollars"


def _goal(
    product: Product,
    wish: Wish,
    options: Mapping[str, str] | tuple[str, ...],
    text: str,
    limit: float,
) -> Goal:
    return Goal(
        product.id,
        text,
        product.title,
        product.category,
        product.query,
        product.product_category,
        wish.attributes,
        options,
        limit,
    )
