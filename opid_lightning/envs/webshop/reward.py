"""The original reward: how much of what was asked for was bought, times whether it is the kind.

score = type x (attributes met + options met + [price within limit])
             / (attributes wanted + options wanted + 1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, utils

from opid_lightning.envs.webshop.colors import color_in
from opid_lightning.envs.webshop.goals import Goal
from opid_lightning.envs.webshop.nouns import Nouns
from opid_lightning.envs.webshop.products.product import LEVEL_MARK, Product

ALIKE = 85  # texts are taken for the same above this, of 100
_LATIN = dict.fromkeys(range(128, 256))  # which thefuzz deletes before comparing


@dataclass(frozen=True)
class TypeMatch:
    """How far a product is of the wanted kind."""

    query_match: bool
    category_match: bool  # two levels or more are the same
    title_score: float  # share of the wanted title's nouns that the bought one has

    @property
    def factor(self) -> float:
        """A factor in [0, 1]: whether this is the kind of product that was asked for."""
        if self.title_score == 0:
            return 0.0
        if self.title_score < 0.1:
            return 0.1
        return 1.0 if self.query_match or self.category_match or self.title_score > 0.2 else 0.5


@dataclass(frozen=True)
class Score:
    """What a purchase earns, and of what it is made."""

    type: TypeMatch
    num_attributes: int
    attributes_met: int
    num_options: int
    options_met: int
    price_met: bool

    @property
    def value(self) -> float:
        """The reward in [0, 1]: the share of wishes met, times the factor of the type."""
        met = self.attributes_met + self.options_met + self.price_met
        return met / (self.num_attributes + self.num_options + 1) * self.type.factor


def score(
    goal: Goal,
    product: Product,
    price: float,
    chosen: Mapping[str, str],
    nouns: Nouns,
    same_form: bool = False,
) -> Score:
    """`chosen` are option values by name.

    The original compares values that were chosen with pairs of name and value that were wanted,
    and reduces only the former to colours: some synthetic goals cannot be met at all.
    `same_form` compares values with values.
    """
    options = goal.options
    wanted = (
        goal.option_values if same_form or not isinstance(options, Mapping) else options.items()
    )
    return Score(
        match_types(goal, product, nouns),
        len(goal.attributes),
        sum(has_attribute(product, attribute) for attribute in goal.attributes),
        len(goal.options),
        num_options_met(list(chosen.values()), list(wanted)),
        price <= goal.price_limit,
    )


def match_types(goal: Goal, product: Product, nouns: Nouns) -> TypeMatch:
    """Compares what the goal's product and the bought one are, as the original does."""
    wanted, bought = nouns(goal.title), set(nouns(product.title))
    levels = _levels(goal.product_category) & _levels(product.product_category)
    return TypeMatch(
        query_match=goal.query == product.query,
        category_match=len(levels) >= 2,
        title_score=len(bought & set(wanted)) / len(wanted) if wanted else 0.2,
    )


def _levels(category: str) -> set[str]:
    return {level.strip() for level in category.split(LEVEL_MARK)}


def has_attribute(product: Product, attribute: str) -> bool:
    """Said to be one of its attributes, or found in its texts."""
    return any(alike(own, attribute) for own in product.attributes) or any(
        attribute in text.lower()
        for text in (product.title, " ".join(product.bullet_points), product.description)
    )


def num_options_met(chosen: Sequence[str], wanted: Sequence[str | tuple[str, str]]) -> int:
    """Of the wanted ones, each as often as it is wanted."""
    values = [color_in(value) or value for value in chosen]
    return sum(
        any(alike(value, want) for value in values)
        for want in (color_in(option) or option for option in wanted)
    )


def alike(one: str, other: str | tuple[str, str]) -> bool:
    """Whether the words of one are nearly all among the words of the other."""
    return round(fuzz.token_set_ratio(_plain(one), _plain(other))) > ALIKE


def _plain(text: str | tuple[str, str]) -> str:
    return utils.default_process(str(text).translate(_LATIN))
