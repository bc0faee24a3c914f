"""Sampling with `generate`: exact distribution, true log-probs, no influence of neighbours."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import pytest
import torch

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Completion, Policy, SampleRequest

PROMPT = (8, 9, 10, 4, 2)
END = 3


@pytest.fixture(scope="module")
def policy() -> Policy:
    policy = load_policy(PolicySource("keydoor"))
    # Far from uniform, so that a wrong temperature or a missing row shows.
    policy.model.lm_head.weight.data.mul_(4)  # type: ignore[union-attr,operator]
    return policy


def request(name: str = "a", **changes: object) -> SampleRequest:
    plain = SampleRequest(name, PROMPT, max_tokens=8, temperature=1.0, seed=0)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def sample(
    policy: Policy, requests: Sequence[SampleRequest], max_batch: int = 64
) -> dict[str, Completion]:
    completions: list[Completion] = []
    with HuggingFace(max_batch).serving(policy) as generation:
        for wanted in requests:
            generation.submit(wanted)
        while len(completions) < len(requests):
            completions += generation.collect()
    return {completion.request_id: completion for completion in completions}


def distribution(policy: Policy, prompt: tuple[int, ...], temperature: float) -> torch.Tensor:
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    return torch.softmax(logits / temperature, -1)


@pytest.mark.parametrize("temperature", [0.5, 1.5])
def test_tokens_come_as_often_as_the_softmax_says(policy: Policy, temperature: float) -> None:
    num_samples = 4000
    requests = [
        request(str(seed), seed=seed, max_tokens=1, temperature=temperature)
        for seed in range(num_samples)
    ]
    counts = Counter(c.token_ids[0] for c in sample(policy, requests, 1000).values())
    expected = distribution(policy, PROMPT, temperature)
    for token, probability in enumerate(expected.tolist()):
        deviation = (probability * (1 - probability) / num_samples) ** 0.5
        assert abs(counts[token] / num_samples - probability) < 4 * deviation + 1e-4


def test_later_tokens_follow_from_the_earlier_ones(policy: Policy) -> None:
    num_samples = 4000
    requests = [request(str(seed), seed=seed, max_tokens=2) for seed in range(num_samples)]
    answers = [c.token_ids for c in sample(policy, requests, 1000).values()]
    first, num_first = Counter(ids[0] for ids in answers if ids[0] != END).most_common(1)[0]
    counts = Counter(ids[1] for ids in answers if ids[0] == first)
    expected = distribution(policy, (*PROMPT, first), 1.0)
    for token, probability in enumerate(expected.tolist()):
        deviation = (probability * (1 - probability) / num_first) ** 0.5
        assert abs(counts[token] / num_first - probability) < 4 * deviation + 1e-3


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_log_probs_are_those_that_training_computes(policy: Policy, temperature: float) -> None:
    requests = [
        request(str(seed), prompt_ids=PROMPT[seed % 4 :], seed=seed, temperature=temperature)
        for seed in range(12)
    ]
    completions = sample(policy, requests)
    for wanted in requests:
        answer = completions[wanted.id]
        inputs = pad_sequences([wanted.prompt_ids], [answer.token_ids], pad_id=0)
        expected, _ = response_logprobs(policy.model, inputs, temperature)
        torch.testing.assert_close(
            torch.tensor(answer.logprobs), expected[0].detach(), atol=1e-5, rtol=0
        )


def test_neighbours_change_nothing(policy: Policy) -> None:
    requests = [
        request(str(seed), prompt_ids=PROMPT[seed % 4 :], seed=seed, max_tokens=3 + seed)
        for seed in range(8)
    ]
    together = sample(policy, requests)
    for wanted in requests:
        alone = sample(policy, [wanted])[wanted.id]
        assert alone.token_ids == together[wanted.id].token_ids
        assert alone.logprobs == pytest.approx(together[wanted.id].logprobs, abs=1e-5)


def test_seeds_tell_requests_for_one_prompt_apart(policy: Policy) -> None:
    requests = [request(str(seed), seed=seed) for seed in range(8)]
    assert len({c.token_ids for c in sample(policy, requests).values()}) > 4


def test_temperature_0_is_greedy_with_log_probs_at_temperature_1(policy: Policy) -> None:
    requests = [request("a", temperature=0.0, seed=1), request("b", temperature=0.0, seed=2)]
    answers = sample(policy, [*requests, request("hot", temperature=2.0)])
    assert answers["a"].token_ids == answers["b"].token_ids
    expected = distribution(policy, PROMPT, 1.0)
    assert answers["a"].token_ids[0] == int(expected.argmax())
    assert answers["a"].logprobs[0] == pytest.approx(float(expected.max().log()), abs=1e-5)


def test_a_response_is_cut_at_its_own_limit_or_ends_with_its_end_token(policy: Policy) -> None:
    requests = [request(str(n), seed=n, max_tokens=1 + n % 9) for n in range(60)]
    completions = sample(policy, requests)
    assert {c.is_cut for c in completions.values()} == {True, False}
    for wanted in requests:
        answer = completions[wanted.id]
        assert END not in answer.token_ids[:-1]
        assert answer.is_cut == (answer.token_ids[-1] != END)
        assert len(answer.token_ids) == len(answer.logprobs) <= wanted.max_tokens
        assert len(answer.token_ids) == wanted.max_tokens or not answer.is_cut
        assert "<end>" not in answer.text


def test_every_stop_token_ends_a_response(policy: Policy) -> None:
    model = load_policy(PolicySource("keydoor")).model
    favourite = int(distribution(policy, PROMPT, 1.0).argmax())
    model.load_state_dict(policy.model.state_dict())
    model.generation_config.eos_token_id = [END, favourite]  # type: ignore[union-attr]
    answer = sample(Policy(model, policy.tokenizer), [request(temperature=0.0)])["a"]
    assert answer.token_ids == (favourite,) and not answer.is_cut


def test_a_repetition_penalty_of_the_model_is_not_applied_but_kept(policy: Policy) -> None:
    plain = sample(policy, [request(max_tokens=20)])["a"]
    settings = policy.model.generation_config  # type: ignore[union-attr]
    settings.repetition_penalty = 5.0  # type: ignore[union-attr]
    try:
        assert sample(policy, [request(max_tokens=20)])["a"] == plain
        assert policy.model.generation_config is settings  # type: ignore[union-attr]
    finally:
        settings.repetition_penalty = 1.0  # type: ignore[union-attr]


def test_modes_are_put_back_though_a_rollout_fails(policy: Policy) -> None:
    policy.model.train()
    policy.model.lm_head.eval()  # type: ignore[union-attr,operator]

    def fail() -> None:
        with HuggingFace().serving(policy):
            assert not any(module.training for module in policy.model.modules())
            raise RuntimeError("a game broke")

    with pytest.raises(RuntimeError, match="a game broke"):
        fail()
    assert policy.model.training and not policy.model.lm_head.training  # type: ignore[union-attr]
    policy.model.eval()


def test_gradient_checkpointing_changes_no_response_and_stays_on(policy: Policy) -> None:
    plain = sample(policy, [request()])["a"]
    model = load_policy(PolicySource("keydoor")).model
    model.load_state_dict(policy.model.state_dict())
    model.gradient_checkpointing_enable()  # type: ignore[operator]
    model.train()
    answer = sample(Policy(model, policy.tokenizer), [request()])["a"]
    assert answer.token_ids == plain.token_ids
    assert model.is_gradient_checkpointing


def test_nobody_elses_random_numbers_move(policy: Policy) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    sample(policy, [request()])
    assert torch.equal(torch.rand(1), expected)


def test_batches_are_no_larger_than_asked_for(policy: Policy) -> None:
    with HuggingFace(max_batch=2).serving(policy) as generation:
        for name in "abcde":
            generation.submit(request(name))
        sizes = [len(generation.collect()) for _ in range(3)]
    assert sizes == [2, 2, 1]


def test_more_positions_than_the_model_has_are_refused(policy: Policy) -> None:
    with (
        HuggingFace().serving(policy) as generation,
        pytest.raises(ValueError, match=r"'a' may need 513 .*has 512: lower rollout.max_prompt"),
    ):
        generation.submit(request(max_tokens=508))


def test_max_batch_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sampler\.max_batch is 0; expected at least 1"):
        HuggingFace(max_batch=0)
