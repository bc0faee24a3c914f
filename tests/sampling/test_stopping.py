"""Texts that end a response, whatever samples it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.sampling.requests import has_just_stopped, stopped_at
from opid_lightning.types import Completion, Policy, SampleRequest

PROMPT = (
    "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 1.\n\n"
    "Your turn. Your goal: put a mug in desk."
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("small"))


def spelt(ids: tuple[int, ...]) -> str:
    """A word a token."""
    return "".join(["a", "b", "</", "answer>", "c"][i] for i in ids)


def test_a_text_is_complete_with_the_token_that_brings_its_last_letter() -> None:
    #      a  b  </ answer> c
    ids = (0, 1, 2, 3, 4)
    assert stopped_at(ids, ("</answer>",), spelt) == 4
    assert stopped_at(ids, ("</answer>", "b"), spelt) == 2  # whichever comes first
    assert stopped_at(ids, ("answ",), spelt) == 4  # tokens are not cut
    assert stopped_at(ids, ("d",), spelt) is None
    assert stopped_at(ids, (), spelt) is None


@given(st.lists(st.integers(0, 4), max_size=30), st.sampled_from(["</answer>", "ab", "c", "ca</"]))
def test_asked_after_each_token_it_stops_where_it_stops_afterwards(
    ids: list[int], text: str
) -> None:
    decode = lambda given: spelt(tuple(given))  # noqa: E731
    stops = [n for n in range(1, len(ids) + 1) if has_just_stopped(ids[:n], (text,), decode)]
    assert stopped_at(ids, (text,), decode) == (stops[0] if stops else None)


def request(policy: Policy, seed: int, **changes: object) -> SampleRequest:
    prompt = encode_chat(policy.tokenizer)(PROMPT)
    plain = SampleRequest(f"r{seed}", prompt, 24, 1.0, seed)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def answers(
    sampler: HuggingFace, policy: Policy, asked: list[SampleRequest]
) -> dict[str, Completion]:
    found: list[Completion] = []
    with sampler.serving(policy) as generation:
        for one in asked:
            generation.submit(one)
        while len(found) < len(asked):
            found += generation.collect()
    return {completion.request_id: completion for completion in found}


@pytest.mark.parametrize("cache_tokens", [0, 64_000])
def test_a_response_is_the_beginning_of_what_it_would_have_been(
    policy: Policy, cache_tokens: int
) -> None:
    """And ends in the text, with log-probs of what there is, as one that is not cut."""
    sampler = HuggingFace(cache_tokens=cache_tokens)
    decode = Vocabulary(policy.tokenizer).text
    whole = answers(sampler, policy, [request(policy, seed) for seed in range(8)])
    stop = ("</action>", " 2")
    early = answers(sampler, policy, [request(policy, seed, stop=stop) for seed in range(8)])
    ended = 0
    for name, completion in early.items():
        ids = completion.token_ids
        assert ids == whole[name].token_ids[: len(ids)]
        assert completion.logprobs == pytest.approx(whole[name].logprobs[: len(ids)], abs=1e-5)
        assert not any(text in decode(ids[:-1]) for text in stop)
        if any(text in completion.text for text in stop):
            ended += 1
            assert not completion.is_cut
            assert len(ids) < len(whole[name].token_ids)
    assert ended > 4


def test_a_blank_text_is_refused() -> None:
    with pytest.raises(ValueError, match="a blank text would end nothing"):
        Rollout(stop=("</answer>", ""))
