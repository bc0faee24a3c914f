"""Data that is missing, broken or odd: refused by name, or left out aloud."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from opid_lightning.envs.webshop import WebShop
from opid_lightning.envs.webshop.goals import num_goals
from opid_lightning.envs.webshop.products.catalogue import Catalogue
from opid_lightning.envs.webshop.products.product import MalformedItemError, Product, product_from
from opid_lightning.envs.webshop.products.splits import split_goals
from tests.envs.webshop.shop import DRESS, LAMP, SHIRT, attributes, items, wishes, write_shop


def names(env: WebShop) -> list[str]:
    return [product.id for product in env._catalogue.products]


def look_at_all(folder: Path) -> None:
    catalogue = Catalogue(folder)
    catalogue.sources("synthetic")
    list(catalogue.products)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"env.data is .*nowhere', which is no folder"):
        WebShop(data=str(tmp_path / "nowhere")).tasks("train")
    with pytest.raises(ValueError, match=r"no items_shuffle\*.json .*env.products_file=PATH"):
        WebShop(data=str(tmp_path)).tasks("train")
    settings = write_shop(tmp_path / "shop")
    (tmp_path / "shop" / "items_ins_v2.json").unlink()
    with pytest.raises(ValueError, match=r"no items_ins_v2\*.json .*env.attributes_file=PATH"):
        WebShop(**settings).tasks("train")
    with pytest.raises(ValueError, match=r"there is no file .*gone.json"):
        WebShop(**settings, attributes_file=str(tmp_path / "gone.json")).tasks("train")


def test_human_goals_need_their_file(tmp_path: Path) -> None:
    settings = write_shop(tmp_path)
    (tmp_path / "items_human_ins.json").unlink()
    with pytest.raises(ValueError, match=r"no items_human_ins.*env.human_file=PATH"):
        WebShop(**settings, goals="human").tasks("train")
    with pytest.raises(ValueError, match=r"generated catalogue: set env.data"):
        WebShop(goals="human")


@pytest.mark.parametrize("products", ["", "{}", "null", '[{"asin": "B1", "na', "[1, 2", "<html>"])
def test_files_that_are_no_whole_json_are_refused_and_leave_nothing(
    tmp_path: Path, products: str
) -> None:
    env = WebShop(**write_shop(tmp_path, products=products))
    with pytest.raises(ValueError, match=r"items_shuffle.json (begins with|is not whole JSON)"):
        env.tasks("train")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"[" + b"\xff\xfe" * 9, b'[{"asin": "\xff\xfe"}]'],
)
def test_files_of_bytes_that_are_no_json_are_refused(tmp_path: Path, content: bytes) -> None:
    env = WebShop(**write_shop(tmp_path))
    (tmp_path / "items_shuffle.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"items_shuffle\.json is not whole JSON"):
        env.tasks("train")


@pytest.mark.parametrize("name", ["products.sqlite", "goals.json"])
def test_a_damaged_catalogue_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    WebShop(**write_shop(tmp_path)).tasks("train")
    (made,) = (tmp_path / "cache").iterdir()
    (made / name).write_bytes(b"\xff" + (made / name).read_bytes()[1:])
    with pytest.raises(ValueError, match=rf"{made}.* is damaged .*remove the folder"):
        look_at_all(made)


@pytest.mark.parametrize("name", ["products.sqlite", "goals.json"])
def test_a_catalogue_that_lacks_a_file_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    WebShop(**write_shop(tmp_path)).tasks("train")
    (made,) = (tmp_path / "cache").iterdir()
    (made / name).unlink()
    with pytest.raises(ValueError, match=rf"{made}.* is damaged .*remove the folder"):
        look_at_all(made)


@pytest.mark.parametrize("name", ["meta.json", "index.json", "checksums.json", ""])
def test_a_damaged_index_is_built_again_from_the_products(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    WebShop(**write_shop(tmp_path)).tasks("train")
    (made,) = (tmp_path / "cache").iterdir()
    found = Catalogue(made).search("red shirt")
    if name:
        (made / "index" / name).write_bytes(b"\xff")
    else:
        shutil.rmtree(made / "index")
    assert Catalogue(made).search("red shirt") == found == (SHIRT,)
    assert (f"The index in {made / 'index'} is damaged" in caplog.text) == bool(name)


def test_the_index_of_another_catalogue_is_not_taken(tmp_path: Path) -> None:
    assert len(names(WebShop(**write_shop(tmp_path / "a")))) == 3
    assert len(names(WebShop(**write_shop(tmp_path / "b", products=items()[1:])))) == 2
    (made,), (other,) = (list((tmp_path / name / "cache").iterdir()) for name in "ab")
    shutil.rmtree(made / "index")
    shutil.copytree(other / "index", made / "index")
    assert Catalogue(made).search("red shirt") == (SHIRT,)


def test_attributes_that_are_no_object_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"items_ins_v2.json begins with b'\['"):
        WebShop(**write_shop(tmp_path, about="[]")).tasks("train")


def test_what_no_product_can_be_made_of_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd: list[Any] = [
        None, 7, {}, {"asin": "nan", "name": "x"}, {"asin": "B" * 11, "name": "x"},
        {"asin": "B1"}, {"asin": "B2", "name": "x", "pricing": [3]},
        {"asin": "B3", "name": "x", "customization_options": {"color": [{"no": "value"}]}},
        {"asin": "B4", "name": "x", "customization_options": {"color": 1}},
        {"asin": "B5", "name": "x", "pricing": "call 555 for a price"},
        items()[0], {"asin": "BARE", "name": "Bare"},
    ]  # fmt: skip
    env = WebShop(**write_shop(tmp_path, products=items() + odd))
    assert names(env) == [*(item["asin"] for item in items()), "BARE"]
    (said,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert "4 products of" in said and "11 left out" in said
    assert "5 malformed (such as item 'B1' has no asin or no name)" in said
    assert "5 without an asin of at most 10 characters (such as item 4)" in said
    assert "1 with the asin of an earlier one (such as item 14)" in said


DEEP = '"' + "a" * 3 + '": ' + "[" * 100_000 + "]" * 100_000


def peak_memory(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_item_that_nests_too_deeply_costs_no_other_and_little_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deep = f'[{{"asin": "DEEP", "name": "x", {DEEP}}}, {json.dumps(items())[1:]}'
    env = WebShop(**write_shop(tmp_path, products=deep))
    assert peak_memory(lambda: env.tasks("train")) < 50_000_000
    assert names(env) == [SHIRT, DRESS, LAMP]
    assert "1 nested more than 64 levels deep (such as item 1)" in caplog.text


@pytest.mark.parametrize("of", ["about", "human"])
def test_what_is_known_of_a_product_may_nest_too_deeply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, of: str
) -> None:
    """It costs that product alone."""
    whole = json.dumps({"about": attributes(), "human": wishes()}[of])
    deep = f'{{"{LAMP}": {{{DEEP}}}, {whole[1:]}' if of == "human" else whole
    if of == "about":
        deep = whole.replace('"attributes": []', f'"attributes": [], {DEEP}')
    env = WebShop(**write_shop(tmp_path, **{of: deep}))
    assert names(env) == [SHIRT, DRESS]
    assert "1 malformed (such as" in caplog.text and f"'{LAMP}'" in caplog.text


def test_a_file_that_opens_brackets_without_an_end_is_refused_by_name(tmp_path: Path) -> None:
    env = WebShop(**write_shop(tmp_path, products="[" * 100_000))
    with pytest.raises(ValueError, match=r"items_shuffle.json is not whole JSON \(item 1: "):
        env.tasks("train")


@pytest.mark.parametrize("number", ["NaN", "1e400", "-1", "1" + "0" * 400])
def test_a_price_that_is_no_amount_costs_its_item_alone(tmp_path: Path, number: str) -> None:
    odd = f'[{{"asin": "ODD", "name": "x", "pricing": {number}}}, {json.dumps(items())[1:]}'
    assert names(WebShop(**write_shop(tmp_path, products=odd))) == [SHIRT, DRESS, LAMP]


def test_half_characters_are_read_as_u_fffd_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"asin": "HALF", "name": "a \ud800 b"}
    env = WebShop(**write_shop(tmp_path, products=[*items(), odd]))
    assert env._catalogue.products.get("HALF").title == "a \ufffd b"
    assert "lone surrogates in 1 items (such as item 4) are read as U+FFFD" in caplog.text


MANY = {f"option {number}": [{"value": str(n)} for n in range(12)] for number in range(30)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"customization_options": MANY}, r"has options with 2.37e\+32 combinations, .*100,000"),
        ({"name": " "}, "has no asin or no name"),
        ({"pricing": "1 or " * 3000}, r"^.{,120}$"),
        ({"pricing": {"a": "1" * 3000}}, r"^.{,120}$"),
    ],
)
def test_a_product_that_no_shop_can_show_is_malformed(change: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedItemError, match=said):
        product_from({**items()[0], **change}, {}, [])


def test_as_many_combinations_as_are_allowed_make_goals_in_time() -> None:
    options = {name: [{"value": str(n)} for n in range(10)] for name in "abcde"}
    product = product_from(
        {**items()[0], "customization_options": options}, attributes()[SHIRT], []
    )
    assert num_goals(product, "synthetic") == 100_000
    assert sum(len(part) for part in astuple(split_goals(product.id, 100_000))) == 100_000


def test_an_instruction_that_is_no_text_is_malformed() -> None:
    about = {"instruction": ["Find a shirt"], "instruction_attributes": ["red"]}
    with pytest.raises(MalformedItemError, match="instruction of type list, expected a text"):
        product_from(items()[0], about, [])


def test_of_two_ids_that_differ_in_case_one_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = WebShop(
        **write_shop(tmp_path, products=[*items(), {**items()[0], "asin": SHIRT.lower()}])
    )
    assert names(env) == [SHIRT, DRESS, LAMP]
    assert "1 with the asin of an earlier one" in caplog.text


@pytest.mark.parametrize("wish", [None, 3, "a shirt", ["a shirt"], {"instruction": 3}])
def test_a_malformed_wish_costs_its_product_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wish: Any
) -> None:
    env = WebShop(**write_shop(tmp_path, human={SHIRT: [wish]}))
    assert names(env) == [DRESS, LAMP]
    assert f"1 malformed (such as item '{SHIRT}' has" in caplog.text


@pytest.mark.parametrize("products", [[], [{"asin": "B1"}, 7]])
def test_a_catalogue_in_which_nothing_is_left_is_refused(tmp_path: Path, products: Any) -> None:
    with pytest.raises(ValueError, match=rf"holds no products: {len(products)} left out"):
        WebShop(**write_shop(tmp_path, products=products)).tasks("train")


def test_one_damaged_item_of_many_costs_no_other(tmp_path: Path) -> None:
    """Each part of an item in each JSON type."""
    damage: list[Any] = [None, 3, 1.5, True, "x", [], {}, [1], ["x"], {"a": 1}, {"a": [1]}]
    odd = [
        {**items()[0], "asin": f"D{key[:4]}{number}", key: value}
        for key in items()[0]
        if key != "asin"
        for number, value in enumerate(damage)
    ]
    env = WebShop(**write_shop(tmp_path, products=odd + items()))
    assert names(env)[-3:] == [SHIRT, DRESS, LAMP]
    assert len(env.tasks("train")) > 0


def test_an_item_with_nothing_but_a_name_can_be_looked_at(tmp_path: Path) -> None:
    env = WebShop(**write_shop(tmp_path, products=[*items(), {"asin": "BARE", "name": "Bare"}]))
    session = env.open()
    session.reset(env.task_from(f"{DRESS}-0"))
    for action in ("search[bare]", "click[bare]", "click[features]", "click[< prev]"):
        seen = session.step(action)
    assert "Price: $100.0" in seen.text
    assert session.step("click[buy now]").done


@pytest.mark.parametrize(
    "change",
    [
        {"instruction_attributes": []},
        {"instruction_attributes": None},
        {"instruction": None},
        {"instruction": ""},
    ],
)
def test_an_instruction_without_attributes_makes_no_goal(change: dict[str, Any]) -> None:
    about = {**attributes()[SHIRT], **change}
    assert product_from(items()[0], about, wishes()[SHIRT]).wish is None


def test_attributes_of_another_type_are_malformed() -> None:
    with pytest.raises(MalformedItemError, match="expected texts"):
        product_from(items()[0], {"attributes": [1]}, [])


def test_no_goals_at_all_are_refused(tmp_path: Path) -> None:
    env = WebShop(**write_shop(tmp_path, about={}))
    with pytest.raises(ValueError, match=r"no synthetic goals for train"):
        env.tasks("train")


def test_a_catalogue_is_made_once_and_again_after_a_file_changed(tmp_path: Path) -> None:
    settings = write_shop(tmp_path)
    assert len(names(WebShop(**settings))) == 3
    (made,) = (tmp_path / "cache").iterdir()
    stamp = made.stat().st_mtime_ns
    assert len(names(WebShop(**settings))) == 3 and made.stat().st_mtime_ns == stamp
    write_shop(tmp_path, products=items()[:2])
    assert len(names(WebShop(**settings))) == 2


def test_of_several_files_the_largest_counts(tmp_path: Path) -> None:
    settings = write_shop(tmp_path)
    (tmp_path / "items_shuffle_1.json").write_text("[]")
    assert len(names(WebShop(**settings))) == 3


def test_a_product_survives_being_written() -> None:
    product = product_from(items()[0], attributes()[SHIRT], wishes()[SHIRT])
    assert Product.from_json(product.to_json()) == product


def test_settings_out_of_range_are_refused() -> None:
    for name, value in {
        "max_steps": 0, "history_length": -1, "results_per_page": 51, "win_reward": 0.0,
        "num_products": 3, "prompt_style": "long", "goals": "all", "reward": "half",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"env.{name} is"):
            WebShop(**{name: value})
