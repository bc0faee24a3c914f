"""The tokenizers that ship have tokens for what injection and the offline analyst write."""

from __future__ import annotations

import inspect

import pytest

from opid_lightning.hindsight.analysts import rules
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.method.injection import with_episode_skill, with_step_skill
from opid_lightning.types import PromptText
from opid_lightning.warm_start import search, webshop
from opid_lightning.warm_start.alfworld import tokenizer as alfworld

PHRASES = {
    "small": alfworld.PHRASES,
    "small_search": search.PHRASES,
    "small_webshop": webshop.PHRASES,
}
PROMPT = PromptText("", "", "")


def headings() -> list[str]:
    skilled = with_episode_skill(PROMPT, "x"), with_step_skill(PROMPT, "x")
    return [prompt.text.splitlines()[0] for prompt in skilled]


@pytest.mark.parametrize("policy", PHRASES)
def test_each_heading_of_a_skill_is_one_token(policy: str) -> None:
    tokenizer = load_policy(PolicySource(policy)).tokenizer
    for heading in headings():
        assert heading in PHRASES[policy]
        assert len(tokenizer(heading, add_special_tokens=False)["input_ids"]) == 1, heading


def test_what_the_offline_analyst_says_has_tokens_of_its_own() -> None:
    said = inspect.getsource(rules).replace("{instead}", "try")
    phrases = [p for p in alfworld.PHRASES if p.startswith((" now, as", '", then', "This way"))]
    assert len(phrases) == 5
    for phrase in phrases:
        assert phrase.strip('" ') in said, f"the analyst says {phrase!r} no more"
