"""Sampling from a script."""

from __future__ import annotations

import pytest

from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.sampling.scripted import Scripted
from opid_lightning.types import Completion, Policy, SampleRequest


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


def answers(script: Scripted, policy: Policy, num: int, max_tokens: int = 9) -> list[Completion]:
    prompt = tuple(policy.tokenizer.encode("the key is left"))
    completions: list[Completion] = []
    with script.serving(policy) as generation:
        for index in range(num):
            generation.submit(SampleRequest(str(index), prompt, max_tokens, 1.0, seed=0))
        while len(completions) < num:
            completions += generation.collect()
    return completions


def test_replies_are_given_in_turn_and_again(policy: Policy) -> None:
    completions = answers(Scripted(["left", "take"]), policy, 3)
    assert [completion.text for completion in completions] == ["left", "take", "left"]
    assert [completion.request_id for completion in completions] == ["0", "1", "2"]


def test_a_reply_ends_with_the_end_token_and_is_certain(policy: Policy) -> None:
    (completion,) = answers(Scripted(["take the key"]), policy, 1)
    tokens = policy.tokenizer.convert_ids_to_tokens(completion.token_ids)
    assert tokens == ["take", "the", "key", "<end>"]
    assert completion.logprobs == (0.0,) * 4 and not completion.is_cut


def test_a_reply_longer_than_the_limit_is_cut(policy: Policy) -> None:
    (completion,) = answers(Scripted(["take the key"]), policy, 1, max_tokens=2)
    assert completion.text == "take the" and completion.is_cut
    assert len(completion.token_ids) == len(completion.logprobs) == 2


def test_unknown_words_reach_the_environment_as_written(policy: Policy) -> None:
    (completion,) = answers(Scripted(["Abracadabra!"]), policy, 1)
    assert completion.text == "Abracadabra!"


def test_a_reply_can_be_made_from_the_prompt(policy: Policy) -> None:
    (completion,) = answers(Scripted(reply_to=lambda prompt: prompt.split()[-1]), policy, 1)
    assert completion.text == "left"


@pytest.mark.parametrize("script", [{}, {"replies": ["left"], "reply_to": str}])
def test_replies_and_reply_to_exclude_each_other(script: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="give one of the two"):
        Scripted(**script)
