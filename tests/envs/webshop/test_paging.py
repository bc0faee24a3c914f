"""Descriptions and features that are longer than a page: parts that can be leafed through."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.webshop import WebShop, pages
from opid_lightning.envs.webshop.prompt import brief
from opid_lightning.types import Observation
from tests.envs.webshop.shop import LAMP, items, write_shop

WORDS = [f"word{number}" for number in range(1000)]
LINK = f"click[{LAMP.lower()}]"


def shop(folder: Path, page_characters: int | None) -> WebShop:
    lamp = items()[2] | {
        "full_description": " ".join(WORDS),
        "small_description": ["short", "x" * 350, "last"],
    }
    settings = write_shop(folder, products=[*items()[:2], lamp])
    return WebShop(**settings, page_characters=page_characters)


def walk(env: WebShop, *actions: str) -> list[Observation]:
    session = env.open()
    session.reset(env.tasks("train")[0])
    return [session.step(action) for action in ("search[lamp]", LINK, *actions)]


def parts(observation: Observation) -> list[str]:
    return observation.text.split(pages.SEPARATOR)


def test_a_long_description_is_read_part_by_part_and_no_word_is_lost(tmp_path: Path) -> None:
    env = shop(tmp_path, page_characters=3000)
    seen = walk(env, "click[description]", "click[next >]", "click[next >]", "click[next >]")
    first, second, third, after = seen[2:]
    assert parts(first)[:4] == ["Back to Search", "< Prev", "Next >", "Part 1 of 3"]
    assert parts(third)[:3] == ["Back to Search", "< Prev", "Part 3 of 3"]
    assert "click[next >]" in second.admissible and "click[next >]" not in third.admissible
    assert after == third, "there is no fourth part"
    assert " ".join(parts(page)[-1] for page in (first, second, third)).split() == WORDS
    assert all(len(parts(page)[-1]) <= 3000 for page in (first, second, third))


def test_the_parts_lead_back_to_the_product(tmp_path: Path) -> None:
    env = shop(tmp_path, page_characters=5000)
    opened = ("click[description]", "click[next >]", "click[< prev]", "click[< prev]")
    item, first, _, again, back = walk(env, *opened)[1:]
    assert (again, back) == (first, item)
    reopened = walk(env, "click[description]", "click[next >]", "click[back to search]", LINK)
    assert reopened[-1].text == "Search", "nothing but a search leads out of the search page"
    anew = walk(env, *opened[:2], "search[lamp]", LINK, "click[description]")[-1]
    assert anew == first, "a page is opened at its beginning"


def test_pages_that_fit_are_the_originals(tmp_path: Path) -> None:
    whole = walk(shop(tmp_path, None), "click[features]", "click[< prev]", "click[description]")
    roomy = walk(shop(tmp_path, 8000), "click[features]", "click[< prev]", "click[description]")
    assert whole == roomy
    assert parts(whole[2]) == ["Back to Search", "< Prev", "short", "x" * 350, "last"]
    assert parts(whole[4])[-1] == " ".join(WORDS)


def test_features_stay_whole_where_they_fit_a_part(tmp_path: Path) -> None:
    first, second = walk(shop(tmp_path, 361), "click[features]", "click[next >]")[2:]
    assert parts(first)[3:] == ["Part 1 of 2", "short"]
    assert parts(second)[2:] == ["Part 2 of 2", "x" * 350, "last"]


def test_a_brief_prompt_says_that_there_is_more(tmp_path: Path) -> None:
    first, last = walk(shop(tmp_path, 5000), "click[description]", "click[next >]")[2:]
    assert brief(first).startswith("part 1 of 2, word0 ") and brief(first).endswith(", more")
    assert brief(last).startswith("part 2 of 2, ") and not brief(last).endswith("more")


@given(
    texts=st.lists(st.text(st.sampled_from("ab \n"), min_size=1, max_size=60), max_size=6),
    limit=st.integers(5, 40),
)
def test_parts_hold_all_words_and_keep_the_limit(texts: list[str], limit: int) -> None:
    texts = [text.strip() for text in texts if text.strip()]
    found = pages.in_parts(texts, limit)
    assert "".join("".join(map("".join, found)).split()) == "".join("".join(texts).split())
    assert all(len(pages.SEPARATOR.join(part)) <= limit for part in found)
    assert pages.in_parts(texts, None) == [texts]
    if len(pages.SEPARATOR.join(texts)) <= limit:
        assert found == [texts]


@pytest.mark.parametrize("value", [0, 99, -1])
def test_a_page_of_no_size_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=r"env\.page_characters"):
        WebShop(page_characters=value)
