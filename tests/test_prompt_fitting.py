"""What is left out of a prompt that is too long, in which order, and that it is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.search.environment import SearchQA
from opid_lightning.envs.webshop.environment import WebShop
from opid_lightning.protocols import Environment
from opid_lightning.rollout.prompt_fitting import PromptFitting, cut_observation
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.types import Action, Observation, Prompt, PromptText, Turn

QUESTION = "Who painted the Old Mill?"
SEARCH = Turn(Observation(QUESTION), Action("<search>Old Mill</search>", is_valid=True))
LONG = " ".join(f"word{number}" for number in range(5000))


def characters(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def prompt_of(
    environment: Environment, history: Sequence[Turn], seen: Observation, budget: int
) -> Prompt:
    rollout = Rollout(1, max_prompt_tokens=budget + 16, skill_tokens=16)
    return rollout.prompt(environment, characters, QUESTION, history, seen)


@pytest.mark.parametrize("style", ["instructive", "brief"])
def test_passages_over_budget_are_cut_beside_the_search_that_found_them(style: str) -> None:
    seen = Observation(f"<information>Doc 1 (Title: A) {LONG}\nDoc 2 (Title: B) b</information>")
    environment = SearchQA(prompt_style=style)  # type: ignore[arg-type]
    prompt = prompt_of(environment, (SEARCH,), seen, budget=2000)
    situation = prompt.text.situation
    assert "<search>Old Mill</search>\n<information>Doc 1 (Title: A) word0 word1 " in situation
    assert f"[... {prompt.num_cut_characters:,} characters left out ...]" in situation
    assert situation.endswith("word4999\nDoc 2 (Title: B) b</information>")
    assert 1990 < len(prompt.token_ids) <= 2000  # a blank on each side of the cut may go
    assert prompt.num_dropped_turns == 0


def test_older_searches_go_before_a_word_of_the_newest_result_does() -> None:
    first = Turn(Observation(QUESTION), Action("<search>first</search>", is_valid=True))
    second = Turn(Observation(LONG), Action("<search>second</search>", is_valid=True))
    prompt = prompt_of(SearchQA(), (first, second), Observation("few words"), budget=2000)
    assert prompt.text.situation.endswith("<search>second</search>\nfew words")
    assert (prompt.num_dropped_turns, prompt.num_cut_characters) == (1, 0)


def test_a_page_with_very_many_options_is_cut_in_text_and_list() -> None:
    options = tuple(f"{number} inches wide" for number in range(2000))
    actions = ("click[back to search]", "click[buy now]", *(f"click[{o}]" for o in options))
    before = Turn(Observation("results"), Action("click[mug-001]", is_valid=True))
    seen = Observation("Back [SEP] " + " [SEP] ".join(options), actions)
    prompt = prompt_of(WebShop(), (before,), seen, budget=3000)
    assert prompt.num_dropped_turns == 1  # an older page helps less than the one that is open
    situation = prompt.text.situation
    assert situation.startswith("You see: Back [SEP] 0 inches wide")
    assert "characters left out ...] " in situation
    assert "Admissible actions: click[back to search], click[buy now], click[0 inches" in situation
    num_shown = situation.count("click[") - 2
    assert situation.endswith(f"[... {len(options) - num_shown:,} more ...]")
    assert len(prompt.token_ids) <= 3000


@given(
    text=st.text(max_size=200),
    actions=st.lists(st.text(max_size=9), max_size=9).map(tuple),
    limit=st.integers(0, 250),
)
def test_what_is_cut_is_counted(text: str, actions: tuple[str, ...], limit: int) -> None:
    shorter, num_cut = cut_observation(Observation(text, actions), limit)
    too_long = max(len(text) - limit, 0)
    num_actions_cut = num_cut - too_long
    assert (shorter.text == text) == (not too_long)
    assert (shorter.admissible == actions) == (sum(map(len, actions)) <= limit)
    kept = shorter.admissible[:-1] if num_actions_cut else shorter.admissible
    assert sum(map(len, actions)) - sum(map(len, kept)) == num_actions_cut or not num_actions_cut
    assert sum(map(len, kept)) <= max(limit, 0)


@given(length=st.integers(0, 400), budget=st.integers(0, 300))
def test_no_prompt_is_over_budget_and_none_is_cut_without_need(length: int, budget: int) -> None:
    def write(history: Sequence[Turn], seen: Observation) -> PromptText:
        return PromptText("goal", seen.text, "act")

    seen = Observation("x" * length)
    prompt = PromptFitting(write, characters, budget)((), seen)
    whole = len(write((), seen).text)
    if prompt is None:
        assert whole > budget
    else:
        assert len(prompt.token_ids) <= budget
        assert (prompt.num_cut_characters == 0) == (whole <= budget)


def test_an_own_environment_may_read_its_own_texts() -> None:
    """To see whether a prompt shows what is seen now, only texts of the environment are used."""

    def write(history: Sequence[Turn], seen: Observation) -> PromptText:
        return PromptText("goal", str(json.loads(seen.text)["room"]), "act")

    turns = [Turn(Observation(json.dumps({"room": r})), Action("go", True)) for r in "ab"]
    seen = Observation(json.dumps({"room": "c"}))
    prompt = PromptFitting(write, characters, 100)(turns, seen)
    assert prompt is not None
    assert prompt.text.situation == "c"


CASES = Path(__file__).parent.parent.parent / "shared" / "cases" / "search"


@pytest.mark.skipif(not CASES.is_dir(), reason=f"there are no shared cases at {CASES}")
def test_the_long_passage_that_people_bring() -> None:
    files = {f"{split}_questions": str(CASES / "q_long.jsonl") for split in ("train",)}
    environment = SearchQA(corpus=str(CASES / "long.jsonl"), **files)  # type: ignore[arg-type]
    session = environment.open()
    opening = session.reset(environment.tasks("train")[0])
    seen = session.step("<search>Old Mill</search>")
    turn = Turn(opening.observation, Action("<search>Old Mill</search>", is_valid=True))
    prompt = prompt_of(environment, (turn,), seen, budget=2000)
    assert "<search>Old Mill</search>\n" in prompt.text.situation
    assert prompt.num_cut_characters > 30_000
