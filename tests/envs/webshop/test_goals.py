"""Which goals a product gives, with which limits, and in which split they stand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.webshop import WebShop
from opid_lightning.envs.webshop.goals import NO_LIMIT, goal_of, num_goals
from opid_lightning.envs.webshop.products.product import Product, product_from
from opid_lightning.envs.webshop.products.splits import (
    SPLITS,
    GoalSource,
    GoalTasks,
    split_goals,
    split_sizes,
)
from tests.envs.webshop.shop import DRESS, LAMP, SHIRT, attributes, items, wishes, write_shop

ORIGINAL = Path("/work/shared/data/webshop")


def shirt() -> Product:
    return product_from(items()[0], attributes()[SHIRT], wishes()[SHIRT])


def test_a_goal_for_every_combination_of_options_in_alphabetical_order_of_names() -> None:
    product = shirt()
    assert num_goals(product, "synthetic") == 3 * 2
    texts = [goal_of(product, n, "synthetic", 0).text.rpartition(", and price")[0] for n in (0, 1)]
    wish = "Find me men's shirts with machine wash with color: red | white, and size: "
    assert texts == [wish + "small", wish + "x-large"]
    assert goal_of(product, 5, "synthetic", 0).options == {"color": "red", "size": "x-large"}


def test_a_human_goal_says_its_limit_after_what_was_asked_for() -> None:
    product = shirt()
    assert num_goals(product, "human") == 1, "a wish without attributes makes no goal"
    assert num_goals(product, "both") == 7
    goal = goal_of(product, 6, "both", 0)
    assert goal.text.startswith("i want a red shirt, and price lower than ")
    assert (goal.options, goal.attributes) == (("red",), ("machine wash",))


@given(price=st.floats(0.5, 2000), seed=st.integers(0, 50))
def test_a_limit_is_one_of_the_four_round_prices_above_but_never_the_nearest(
    price: float, seed: int
) -> None:
    goal = goal_of(replace(shirt(), prices=(price,)), 0, "synthetic", seed)
    nearest = 10 * (price // 10 + 1)
    if nearest >= 990:
        assert goal.price_limit == NO_LIMIT and "price" not in goal.text
    else:
        assert goal.price_limit in [nearest + ten for ten in (10, 20, 30)]
        assert goal.text.endswith(f", and price lower than {goal.price_limit:.2f} dollars")


def test_all_limits_and_prices_of_a_range_turn_up_over_seeds() -> None:
    product = replace(shirt(), prices=(14.0,))
    limits = {goal_of(product, 0, "synthetic", seed).price_limit for seed in range(60)}
    assert limits == {30.0, 40.0, 50.0}
    prices = [shirt().price(seed) for seed in range(60)]
    assert min(prices) >= 19.99 and max(prices) <= 27.99 and len(set(prices)) == 60
    assert shirt().price(7) == shirt().price(7)


@given(name=st.text(min_size=1, max_size=10), count=st.integers(1, 60))
def test_every_goal_stands_in_one_split_and_an_unseen_product_in_no_other(
    name: str, count: int
) -> None:
    parts = split_goals(name, count)
    assert sorted(parts.train + parts.valid_seen + parts.valid_unseen) == list(range(count))
    assert not parts.valid_unseen or len(parts.valid_unseen) == count
    assert parts.valid_unseen or parts.train, "what is seen has to be seen in training"


def test_about_a_tenth_of_products_and_a_tenth_of_other_goals_are_held_out() -> None:
    parts = [split_goals(f"p{number}", 9) for number in range(4000)]
    unseen = sum(bool(part.valid_unseen) for part in parts) / 4000
    seen = sum(len(part.valid_seen) for part in parts) / sum(
        len(part.valid_seen) + len(part.train) for part in parts
    )
    assert unseen == pytest.approx(0.1, abs=0.015) and seen == pytest.approx(0.1, abs=0.01)


def test_tasks_are_found_by_number_as_they_are_listed() -> None:
    counts = {f"p{number}": number % 7 for number in range(200)}
    sources = [GoalSource(name, "k", split_sizes(name, count)) for name, count in counts.items()]
    tasks = GoalTasks.of("train", sources)
    listed = list(tasks)
    assert len(listed) == len(tasks) == len({task.id for task in listed})
    assert listed == [tasks[i] for i in range(len(tasks))] == tasks[:]
    assert tasks[-1] == listed[-1] and tasks[3:9:2] == listed[3:9:2]
    with pytest.raises(IndexError):
        tasks[len(tasks)]


def test_a_split_does_not_depend_on_what_else_is_sold(tmp_path: Path) -> None:
    def ids(name: str, products: list) -> set[str]:
        env = WebShop(**write_shop(tmp_path / name, products))
        sources = env._catalogue.sources("synthetic")
        return {task.id for split in SPLITS for task in GoalTasks.of(split, sources)}

    assert ids("all", items()) == {f"{SHIRT}-{n}" for n in range(6)} | {f"{DRESS}-0"}
    assert ids("fewer", items()[1:]) == {f"{DRESS}-0"}


def test_a_product_without_price_or_options_has_one_goal_and_costs_100(tmp_path: Path) -> None:
    env = WebShop(**write_shop(tmp_path))
    dress, lamp = (env._catalogue.products.get(name) for name in (DRESS, LAMP))
    assert (dress.price(0), dress.price_tag, dress.options) == (100.0, "$100.0", {})
    assert (lamp.price(0), lamp.attributes) == (1299.0, ("DUMMY_ATTR",))
    goal = env.goal(env.task_from(f"{DRESS}-0"))
    assert goal.text.startswith("Find me a hand made dress, and price lower than 1")


@pytest.mark.skipif(not ORIGINAL.is_dir(), reason="the original's 1,000 products are not here")
def test_the_original_thousand_products_give_the_goals_they_are_known_for(tmp_path: Path) -> None:
    env = WebShop(data=str(ORIGINAL), cache=str(tmp_path), nouns="words")
    tasks = {split: env.tasks(split) for split in SPLITS}
    assert sum(map(len, tasks.values())) == 6910
    products = {split: {task.payload[0] for task in tasks[split]} for split in SPLITS}
    assert not products["valid_unseen"] & (products["train"] | products["valid_seen"])
    assert products["valid_seen"] < products["train"]
    assert not {t.id for t in tasks["train"]} & {t.id for t in tasks["valid_seen"]}
    assert set(Counter(t.kind for t in tasks["train"])) == {
        "beauty", "electronics", "fashion", "garden", "grocery",
    }  # fmt: skip
    human = WebShop(data=str(ORIGINAL), cache=str(tmp_path), nouns="words", goals="human")
    assert sum(num_goals(p, "human") for p in human._catalogue.products) >= 13
