"""The reward by hand; the recorded answers of the reference are in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.webshop.colors import color_in
from opid_lightning.envs.webshop.goals import Goal
from opid_lightning.envs.webshop.nouns import nouns_by, words
from opid_lightning.envs.webshop.products.product import Product
from opid_lightning.envs.webshop.reward import alike, match_types, num_options_met, score

SHIRT = Product(
    id="s",
    title="Acme Cotton Shirt",
    category="fashion",
    query="shirts",
    product_category="Clothing \u203a Men \u203a Shirts",
    description="For every day",
    bullet_points=("Slim fit",),
    prices=(20.0,),
    options={"color": ("r.brown2060", "red"), "size": ("small",)},
    attributes=("machine wash",),
)
GOAL = Goal(
    "s",
    "",
    SHIRT.title,
    "fashion",
    "shirts",
    SHIRT.product_category,
    ("machine wash", "slim fit"),
    {"color": "red", "size": "small"},
    30.0,
)


def value(goal: Goal = GOAL, product: Product = SHIRT, price: float = 20.0, **chosen: str) -> float:
    return score(goal, product, price, chosen, words).value


def test_each_attribute_option_and_the_price_count_alike() -> None:
    assert value(color="red", size="small") == 1.0
    assert value(color="red") == pytest.approx(4 / 5)
    assert value(color="red", price=30.01) == pytest.approx(3 / 5)
    assert value(color="red", price=30.0) == pytest.approx(4 / 5)
    plain = replace(SHIRT, bullet_points=(), attributes=())
    assert value(product=plain, color="red", size="small") == pytest.approx(3 / 5)


def test_a_product_of_another_kind_earns_nothing_and_a_distant_one_half() -> None:
    boots = replace(SHIRT, title="Leather Boots", query="boots", product_category="Shoes")
    assert match_types(GOAL, boots, words).factor == 0.0
    goal = replace(GOAL, title="a b c Cotton Shirt Acme Tee Top Polo Jersey Knit Blouse Tunic Vest")
    bag = replace(boots, title="Cotton Bag")
    assert len(words(goal.title)) == 11
    assert match_types(goal, bag, words).factor == 0.1
    assert match_types(replace(goal, title="Cotton Shirt Acme Tee Top"), bag, words).factor == 0.5
    assert match_types(replace(GOAL, title="..."), bag, words).title_score == 0.2


def test_wanted_pairs_are_not_reduced_to_colours_so_some_cannot_be_met() -> None:
    goal = replace(GOAL, options={"color": "r.brown2060"})
    chosen = {"color": "r.brown2060"}
    assert score(goal, SHIRT, 20.0, chosen, words).options_met == 0
    assert score(goal, SHIRT, 20.0, chosen, words, same_form=True).options_met == 1


def test_the_first_colour_of_the_list_is_the_one_that_counts() -> None:
    assert color_in("navy blue") == "blue" and color_in("covered") == "red"
    assert color_in(("color", "navy")) == "navy" and color_in(("color", "navy blue")) is None
    assert num_options_met(["navy blue"], ["navy"]) == 0
    assert num_options_met(["sky blue"], ["navy blue"]) == 1


def test_texts_are_alike_above_85_of_100() -> None:
    assert alike("x-large", "xx-large") and alike("machine wash", "machine washable")
    assert not alike("small", "x-large") and not alike("", "")


def test_words_stand_in_for_nouns_where_there_is_no_model() -> None:
    assert words("The 2 Pack Women's Long-Sleeve T Shirt, X-Large") == (
        "pack", "women", "sleeve", "shirt",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"nouns is 'no_such_model'.*env.nouns=words"):
        nouns_by("no_such_model")


@given(
    st.dictionaries(st.sampled_from(["color", "size", "z"]), st.text(max_size=8)),
    st.floats(0, 60),
)
def test_a_score_lies_between_0_and_1(chosen: dict[str, str], price: float) -> None:
    assert 0 <= score(GOAL, SHIRT, price, chosen, words).value <= 1
