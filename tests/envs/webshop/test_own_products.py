"""The shop of docs/webshop.md, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opid_lightning.envs.webshop import WebShop

DOCUMENT = Path(__file__).parents[3] / "docs" / "webshop.md"


@pytest.fixture
def shop(tmp_path: Path) -> WebShop:
    blocks = re.findall(r"```json (\S+)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in blocks] == ["items_shuffle.json", "items_ins_v2.json"]
    for name, text in blocks:
        (tmp_path / name).write_text(text, encoding="utf-8")
    return WebShop(data=str(tmp_path), cache=str(tmp_path / "cache"), nouns="words")


def test_the_documented_shop_sells_what_is_asked_for(
    shop: WebShop, caplog: pytest.LogCaptureFixture
) -> None:
    session = shop.open()
    opening = session.reset(shop.task_from("MUG-001-0"))
    assert opening.goal.startswith("Find me a dishwasher safe coffee mug with color: blue, and pri")
    found = session.step("search[coffee mug]").text
    assert "$10.99" in found and "$8.5" in found
    for action in ("click[mug-001]", "click[blue]"):
        session.step(action)
    bought = session.step("click[buy now]")
    assert bought.won and bought.reward == 1.0
    assert "left out" not in caplog.text


def test_the_documented_shop_has_a_goal_for_each_option(shop: WebShop) -> None:
    goals = [shop.goal(shop.task_from(f"MUG-001-{number}")) for number in range(2)]
    assert [goal.options for goal in goals] == [{"color": "blue"}, {"color": "white"}]
    with pytest.raises(ValueError, match="there is no task"):
        shop.task_from("MUG-002-0")
