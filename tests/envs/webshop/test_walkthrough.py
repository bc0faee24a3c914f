"""The walk through the shop that docs/webshop.md prints is what the shop says."""

from __future__ import annotations

import re
from pathlib import Path

from opid_lightning.envs.webshop import WebShop

DOCUMENT = Path(__file__).parents[3] / "docs" / "webshop.md"


def test_the_shop_says_what_the_document_prints(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    task, goal = re.findall(r"^Task (\S+) of .*: \*(.*)\*$", text, re.MULTILINE)[0]
    (printed,) = re.findall(r"```text\n(.*?)\n```", text, re.DOTALL)
    start, *steps = printed.split("\n> ")
    env = WebShop(cache=str(tmp_path), results_per_page=4)
    session = env.open()
    opening = session.reset(env.task_from(task))
    assert (opening.goal, opening.observation.text) == (goal, start)
    for step in steps:
        action, shown = step.split("\n", 1)
        seen = session.step(action)
        assert seen.text == shown, action
    assert seen.won
