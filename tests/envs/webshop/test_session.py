"""Walks through the shop: its pages, what can be clicked, and what a purchase earns."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.webshop import WebShop
from opid_lightning.envs.webshop.session import parse_action
from opid_lightning.types import Observation, Turn
from tests.envs.webshop.shop import LAMP, SHIRT, write_shop

SHIRT_LINK = f"click[{SHIRT.lower()}]"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> WebShop:
    return WebShop(**write_shop(tmp_path_factory.mktemp("shop")), results_per_page=2)


def walk(env: WebShop, *actions: str, task: str = f"{SHIRT}-5") -> list[Observation]:
    """What is seen from the start on. Goal 5 of the shirt is red and x-large."""
    session = env.open()
    seen = [session.reset(env.task_from(task)).observation]
    return seen + [session.step(action) for action in actions]


def parts(observation: Observation) -> list[str]:
    return observation.text.split(" [SEP] ")


def test_from_search_to_purchase(env: WebShop) -> None:
    actions = (
        "search[cotton shirt]",
        SHIRT_LINK,
        "click[red]",
        "click[x-large]",
        "click[features]",
        "click[< prev]",
        "click[buy now]",
    )
    start, results, item, red, _, features, again, done = walk(env, *actions)
    assert (start.text, start.admissible) == ("Search", ("search[<your query>]",))
    tag = "$19.99 to $27.99"
    name = "Acme Men's Cotton Shirt"
    assert parts(results)[:2] == ["Back to Search", "Page 1 (Total results: 1)"]
    assert parts(results)[2:] == [SHIRT, name, tag]
    assert results.admissible == ("click[back to search]", SHIRT_LINK)
    assert parts(item) == [
        "Back to Search", "< Prev", "size", "small", "x-large",
        "color", "red | white", "navy blue", "red",
        name, f"Price: {tag}", "Rating: N.A.", "Description", "Features", "Reviews", "Buy Now",
    ]  # fmt: skip
    assert item.admissible[-5:] == tuple(
        f"click[{value}]" for value in ("small", "x-large", "red | white", "navy blue", "red")
    )
    assert red == item == again, "which options were chosen is not shown, but kept"
    assert parts(features) == ["Back to Search", "< Prev", "Machine wash", "Slim fit"]
    assert done.done and done.won and done.reward == 1.0 and done.admissible == ()
    assert "score (min 0.0, max 1.0): 1.0" in done.text


def test_going_back_forgets_the_options(env: WebShop) -> None:
    actions = ("search[shirt]", SHIRT_LINK, "click[red]", "click[x-large]", "click[< prev]")
    *_, results, _, done = walk(env, *actions, SHIRT_LINK, "click[buy now]")
    assert "Page 1" in results.text
    assert done.done and not done.won and done.reward == 0.0
    assert "score (min 0.0, max 1.0): 0.5" in done.text


def test_a_later_choice_replaces_an_earlier_one(env: WebShop) -> None:
    clicks = [f"click[{value}]" for value in ("navy blue", "small", "red", "x-large", "buy now")]
    assert walk(env, "search[shirt]", SHIRT_LINK, *clicks)[-1].won


def test_results_come_in_pages(env: WebShop) -> None:
    actions = ("search[shirt dress light]", "click[next >]", "click[< prev]")
    _, first, second, back = walk(env, *actions)
    assert "Next >" in parts(first) and "< Prev" not in parts(first)
    assert "< Prev" in parts(second) and "Next >" not in parts(second)
    assert parts(second)[1] == "Page 2 (Total results: 3)" and back == first
    ids = {text for page in (first, second) for text in parts(page) if text.startswith("B000")}
    assert len(ids) == 3


def test_a_search_is_possible_anywhere_and_nothing_else_that_is_not_shown(env: WebShop) -> None:
    _, item, found = walk(env, "search[lamp]", f"click[{LAMP.lower()}]", "search[shirt]")[1:]
    assert "Buy Now" in item.text and SHIRT in found.text
    for action in ("click[buy now]", SHIRT_LINK, "buy", "search[]", "click[search]", ""):
        assert walk(env, action)[-1].text == "Search"
    nothing = walk(env, "search[xyzzy]")[-1]
    assert parts(nothing) == ["Back to Search", "Page 1 (Total results: 0)"]


def test_the_score_can_be_the_reward_and_is_paid_once(env: WebShop) -> None:
    paying = WebShop(data=env.data, cache=env.cache, nouns="words", reward="score", win_reward=2.0)
    actions = ("search[shirt]", SHIRT_LINK, "click[red]", "click[buy now]", "click[buy now]")
    *_, done, after = walk(paying, *actions)
    assert done.reward == pytest.approx(2.0 * 3 / 4) and not done.won
    assert after.done and after.reward == 0.0


def test_attributes_are_shown_on_request(env: WebShop) -> None:
    showing = WebShop(data=env.data, cache=env.cache, nouns="words", shows_attributes=True)
    seen = walk(showing, "search[shirt]", SHIRT_LINK, "click[attributes]")[-1]
    assert parts(seen)[2:4] == ["machine wash", "slim fit"]
    assert "click[attributes]" not in walk(env, "search[shirt]", SHIRT_LINK)[-1].admissible


@pytest.mark.parametrize(
    ("action", "read"),
    [
        ("search[red [mug]]", ("search[red ", "mug]")),
        ("search[a] and more]", ("search", "a] and more")),
        ("search[a\nb]", ("", "")),
        ("search[]", ("", "")),
        ("[a]", ("", "")),
        ("click[[]", ("click", "[")),
        ("search[a][]", ("search", "a][")),
        ("]search[", ("", "")),
    ],
)
def test_an_action_is_read_up_to_its_last_brackets(action: str, read: tuple[str, str]) -> None:
    assert parse_action(action) == read


@given(st.lists(st.sampled_from(["search", "[", "]", "click", "\n", "a b"])).map("".join))
def test_actions_are_read_as_the_originals_pattern_reads_them(action: str) -> None:
    match = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == (match.groups() if match else ("", ""))


def test_a_megabyte_of_query_or_brackets_is_answered(env: WebShop) -> None:
    words = " ".join(f"w{number}" for number in range(150_000)) + " shirt"
    assert "Total results" in walk(env, f"search[shirt {words}]")[-1].text
    assert walk(env, "search" + "[" * 1_000_000)[-1].text == "Search"


def test_validity_admissible_takes_any_search_where_there_is_a_search_bar(env: WebShop) -> None:
    strict = WebShop(data=env.data, cache=env.cache, nouns="words", validity="admissible")
    start, results = walk(env, "search[shirt]")
    search = "<think>x</think><action>search[red]</action>"
    assert strict.action(search, start).is_valid and env.action(search, results).is_valid
    assert not strict.action(search, results).is_valid
    assert strict.action("<think></think><action>click[< prev]</action>", results).text == (
        "click[< prev]"
    )
    assert env.action("no tags but a very long text", start).text == "but a very long text"


def test_a_brief_prompt_continues_the_one_before(env: WebShop) -> None:
    brief = WebShop(
        data=env.data, cache=env.cache, nouns="words", prompt_style="brief", history_length=15
    )
    actions = ("search[shirt]", SHIRT_LINK, "click[features]", "click[< prev]", "click[red]")
    seen = walk(brief, *actions)
    history = [
        Turn(observation, brief.action(f"<think></think><action>{action}</action>", observation))
        for observation, action in zip(seen, actions, strict=False)
    ]
    prompts = [brief.prompt("a goal", history[:n], seen[n]) for n in range(len(seen))]
    for before, after in pairwise(prompts):
        assert after.situation.startswith(before.situation + "\n> ")
    assert prompts[2].situation.splitlines() == [
        "search",
        "> search[shirt]",
        f"page 1, {SHIRT.lower()} acme men's cotton shirt $19.99 to $27.99",
        f"> {SHIRT_LINK}",
        "size, small, x-large, color, red | white, navy blue, red, acme men's cotton shirt, "
        "$19.99 to $27.99",
    ]
    assert prompts[2].request == "Your turn. Your goal: a goal"


def test_an_instructive_prompt_shows_the_window_and_what_can_be_done(env: WebShop) -> None:
    start, results, item = walk(env, "search[shirt]", SHIRT_LINK)
    turns = [Turn(start, env.action("x", start)), Turn(results, env.action("y", results))]
    one = WebShop(data=env.data, cache=env.cache, nouns="words", history_length=1)
    assert one.prompt("g", turns, item) == one.prompt("g", turns[1:], item)
    text = one.prompt("g", turns, item).text
    assert "Your goal: g" in text and SHIRT_LINK not in text.partition("You see:")[2]
    assert "click[buy now]" in text and "Page 1" in text
