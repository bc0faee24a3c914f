"""WebShop's functions, in the form in which the reference's answers were recorded."""

from __future__ import annotations

from typing import Any

from opid_lightning.envs.tagged_action import read_tagged_action
from opid_lightning.envs.webshop.environment import FALLBACK_LENGTH
from opid_lightning.envs.webshop.goals import Goal
from opid_lightning.envs.webshop.products.product import Product
from opid_lightning.envs.webshop.reward import Score, score
from tests.golden.adapters_advantage import Inputs, Outputs


def webshop_projection(inputs: Inputs) -> Outputs:
    action = read_tagged_action(inputs["output"], FALLBACK_LENGTH)
    return {"action": action.text, "valid": int(action.is_valid)}


def webshop_get_reward(inputs: Inputs) -> Outputs:
    product, goal = _product(inputs["product"]), _goal(inputs["goal"])
    nouns = {
        goal.title: tuple(inputs["goal_nouns"]),
        product.title: tuple(inputs["product_nouns"]),
    }
    if goal.price_limit <= 0:
        raise TypeError("the reference knows no such limit, and fails")
    got = score(goal, product, inputs["price"], inputs["options"], nouns.__getitem__)
    return {"reward": got.value, "info": _info(got)}


def _info(got: Score) -> dict[str, Any]:
    total = got.num_attributes + got.num_options + 1
    info = {
        "r_type": got.type.factor,
        "r_att": got.attributes_met / got.num_attributes,
        "w_att": got.num_attributes / total,
        "query_match": got.type.query_match,
        "category_match": got.type.category_match,
        "title_score": got.type.title_score,
        "r_price": got.price_met,
        "w_price": 1 / total,
    }
    if got.num_options:
        info["r_option"] = got.options_met / got.num_options
        info["w_option"] = got.num_options / total
    return info


def _product(values: dict[str, Any]) -> Product:
    return Product(
        id="",
        title=values["Title"],
        category="",
        query=values["query"],
        product_category=values["product_category"],
        description=values["Description"],
        bullet_points=tuple(values["BulletPoints"]),
        prices=(),
        options={},
        attributes=tuple(values["Attributes"]),
    )


def _goal(values: dict[str, Any]) -> Goal:
    options = values["goal_options"]
    return Goal(
        product_id="",
        text="",
        title=values["name"],
        category="",
        query=values["query"],
        product_category=values["product_category"],
        attributes=tuple(values["attributes"]),
        options=options if isinstance(options, dict) else tuple(options),
        price_limit=values["price_upper"],
    )
