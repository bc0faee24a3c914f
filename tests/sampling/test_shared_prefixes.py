"""Reading only what is new: the responses, their log-probs, and how much is read."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import GemmaConfig, MistralConfig, Qwen3Config

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Completion, Policy, SampleRequest, TokenIds


@pytest.fixture(scope="module")
def policy() -> Policy:
    policy = load_policy(PolicySource("keydoor"))
    policy.model.lm_head.weight.data.mul_(4)  # type: ignore[union-attr,operator]
    return policy


@dataclasses.dataclass
class TokensRead:
    """Places that forwards computed, padding and responses among them."""

    shapes: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))


def play(
    policy: Policy, rounds: Sequence[Sequence[SampleRequest]], cache_tokens: int = 64_000
) -> tuple[dict[str, Completion], list[tuple[int, int]]]:
    """Answers, and the shapes of what was read."""
    completions: dict[str, Completion] = {}
    read = TokensRead()
    hook = policy.model.register_forward_pre_hook(read, with_kwargs=True)
    with HuggingFace(cache_tokens=cache_tokens).serving(policy) as generation:
        for requests in rounds:
            for wanted in requests:
                generation.submit(wanted)
            answers = generation.collect()
            assert [answer.request_id for answer in answers] == [r.id for r in requests]
            completions |= {answer.request_id: answer for answer in answers}
    hook.remove()
    return completions, read.shapes


def episodes(num_rounds: int = 8, num_tasks: int = 3, group_size: int = 4) -> list[Any]:
    """Prompts that grow between a common beginning and an end of their own, from one per task."""
    random.seed(1)
    words = range(4, 17)
    prompts = [tuple(random.choices(words, k=5 + 30 * task)) for task in range(num_tasks)]
    bodies = [prompt for prompt in prompts for _ in range(group_size)]
    rounds = []
    for step in range(num_rounds):
        rounds.append(
            [
                SampleRequest(
                    id=f"{row}@{step}",
                    prompt_ids=(*body, 2, 4, 2),
                    max_tokens=1 + (row * 5 + step) % 12,
                    temperature=(0.0, 0.5, 1.0, 1.5)[(row + step) % 4],
                    seed=1000 * row + step,
                )
                for row, body in enumerate(bodies)
            ]
        )
        bodies = [body + tuple(random.choices(words, k=random.randint(1, 9))) for body in bodies]
    return rounds


def test_responses_are_those_of_whole_prompts(policy: Policy) -> None:
    shared, _ = play(policy, episodes())
    whole, _ = play(policy, episodes(), cache_tokens=0)
    assert len({answer.token_ids for answer in whole.values()}) > 60
    same = sum(shared[name].token_ids == whole[name].token_ids for name in whole)
    assert same >= 0.98 * len(whole)  # rounding may tip a draw
    for name, answer in whole.items():
        if answer.token_ids == shared[name].token_ids:
            assert shared[name].logprobs == pytest.approx(answer.logprobs, abs=1e-4)
            assert (shared[name].text, shared[name].is_cut) == (answer.text, answer.is_cut)


@pytest.mark.parametrize("cache_tokens", [0, 150, 64_000])
def test_log_probs_are_those_of_a_plain_forward(policy: Policy, cache_tokens: int) -> None:
    rounds = episodes()
    answers, _ = play(policy, rounds, cache_tokens)
    for wanted in (request for requests in rounds for request in requests):
        answer = answers[wanted.id]
        inputs = pad_sequences([wanted.prompt_ids], [answer.token_ids], pad_id=0)
        expected, _ = response_logprobs(policy.model, inputs, wanted.temperature or 1.0)
        torch.testing.assert_close(
            torch.tensor(answer.logprobs), expected[0].detach(), atol=1e-4, rtol=0
        )


def test_the_same_requests_have_the_same_answers_to_the_last_bit(policy: Policy) -> None:
    assert play(policy, episodes()) == play(policy, episodes())


def request(name: str, prompt: TokenIds, **changes: Any) -> SampleRequest:
    return SampleRequest(name, prompt, **{"max_tokens": 1, "temperature": 1.0, "seed": 0} | changes)


LONG = tuple(4 + place % 13 for place in range(200))


def test_only_what_is_new_is_read(policy: Policy) -> None:
    rounds = [[request("a", (*LONG, 5, 5))], [request("b", (*LONG, 6, 7, 8))]]
    assert play(policy, rounds)[1] == [(1, 202), (1, 3)]
    assert play(policy, rounds, cache_tokens=0)[1] == [(1, 202), (1, 203)]


def test_a_prompt_that_is_stored_whole_is_read_from_its_last_token(policy: Policy) -> None:
    rounds = [[request("a", LONG)], [request("b", LONG)], [request("c", LONG[:50])]]
    assert play(policy, rounds)[1] == [(1, 200), (1, 1), (1, 1)]


def test_members_of_a_group_share_the_reading_of_their_prompt(policy: Policy) -> None:
    members = [request(str(seed), LONG, seed=seed) for seed in range(8)]
    answers, shapes = play(policy, [members])
    assert shapes == [(1, 200)]
    alone = {m.id: play(policy, [[m]])[0][m.id] for m in members}
    assert len({answer.token_ids for answer in answers.values()}) > 2
    assert {k: a.token_ids for k, a in answers.items()} == {
        k: a.token_ids for k, a in alone.items()
    }


def test_a_new_episode_does_not_make_others_read_as_much(policy: Policy) -> None:
    going_on = [request(f"b{seed}", (*LONG, seed, 5), seed=seed) for seed in range(4, 10)]
    starting = request("c", tuple(reversed(LONG)))
    shapes = play(policy, [[request("a", LONG)], [*going_on, starting]])[1]
    assert shapes == [(1, 200), (6, 2), (1, 200)]


def test_rows_that_have_ended_are_dropped_and_move_nobody(policy: Policy) -> None:
    requests = [
        request(str(place), (4, 5 + place), max_tokens=12, seed=place) for place in range(10)
    ]
    answers, shapes = play(policy, [requests])
    lengths = [len(answer.token_ids) for answer in answers.values()]
    assert len(set(lengths)) > 3 and len(shapes) == max(lengths)
    for num_drawn, (rows, _) in enumerate(shapes):
        assert rows < 2 * sum(length > num_drawn for length in lengths)
    for wanted in requests:
        alone = play(policy, [[wanted]])[0][wanted.id]
        assert alone.token_ids == answers[wanted.id].token_ids


def test_what_does_not_fit_is_read_again(policy: Policy) -> None:
    other = tuple(reversed(LONG))
    rounds = [[request("a", LONG)], [request("b", other)], [request("c", (*LONG, 5))]]
    assert play(policy, rounds, cache_tokens=399)[1][-1] == (1, 201)
    assert play(policy, rounds, cache_tokens=400)[1][-1] == (1, 1)


def test_a_new_block_reads_everything_anew_as_weights_may_have_moved(policy: Policy) -> None:
    sampler, read = HuggingFace(), TokensRead()
    hook = policy.model.register_forward_pre_hook(read, with_kwargs=True)
    for _ in range(2):
        with sampler.serving(policy) as generation:
            generation.submit(request("a", LONG))
            generation.collect()
    hook.remove()
    assert read.shapes == [(1, 200), (1, 200)]


def small_policy(config: Any, tokenizer: Any) -> Policy:
    from transformers import AutoModelForCausalLM

    sizes = {
        "vocab_size": 17,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "eos_token_id": 3,
    }
    for name, value in sizes.items():
        setattr(config, name, value)
    return Policy(AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval(), tokenizer)


SLIDING = {"use_sliding_window": True, "sliding_window": 4, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    "config",
    [MistralConfig(sliding_window=4), Qwen3Config(**SLIDING, max_window_layers=1)],
    ids=["all layers", "some layers"],
)
def test_a_window_over_the_last_tokens_is_refused_but_plays_without_cache(
    policy: Policy, config: Any
) -> None:
    sliding = small_policy(config, policy.tokenizer)
    with (
        pytest.raises(ValueError, match=r"ForCausalLM has .*Sliding.*cache_tokens=0"),
        HuggingFace().serving(sliding),
    ):
        pass
    assert play(sliding, [[request("a", LONG)]], cache_tokens=0)[0]["a"].token_ids


def test_heads_that_share_keys_are_served(policy: Policy) -> None:
    gemma = small_policy(GemmaConfig(), policy.tokenizer)
    shared, whole = (play(gemma, episodes(3), size)[0] for size in (64_000, 0))
    assert {k: a.token_ids for k, a in shared.items()} == {k: a.token_ids for k, a in whole.items()}


def test_a_negative_cache_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sampler\.cache_tokens is -1; expected at least 0"):
        HuggingFace(cache_tokens=-1)
