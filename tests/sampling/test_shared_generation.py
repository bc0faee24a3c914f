"""A rollout and others share one engine: real ones of keydoor, scripted and by its own forward."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import (
    Generation,
    PolicyClient,
    PolicyClientEndedError,
    RequestTooLongError,
    Sampler,
)
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.sampling.scripted import Scripted
from opid_lightning.sampling.shared_generation import SharedGeneration
from opid_lightning.types import Completion, Exchange, Policy, SampleRequest

ECHO = Scripted(reply_to=lambda prompt: prompt)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


@contextmanager
def shared(policy: Policy, sampler: Sampler = ECHO) -> Iterator[SharedGeneration]:
    with (
        sampler.serving(policy) as generation,
        SharedGeneration(generation, policy, encode_chat(policy.tokenizer)) as found,
    ):
        yield found


def request(index: int, max_tokens: int = 4) -> SampleRequest:
    return SampleRequest(f"task#0@{index}", (8, 9, 4 + index % 6, 2), max_tokens, 1.0, seed=index)


def ask(client: PolicyClient, message: str, seed: int = 0, schema: str = "") -> Future[Exchange]:
    return client.ask(message, max_tokens=4, temperature=1.0, seed=seed, schema=schema)


def answered(generation: Generation, count: int) -> list[Completion]:
    found: list[Completion] = []
    while len(found) < count:
        found += generation.collect()
    return found


def test_it_is_a_generation_and_a_voice(policy: Policy) -> None:
    with shared(policy) as both:
        assert isinstance(both, Generation) and isinstance(both, PolicyClient)


@pytest.mark.parametrize("sampler", [ECHO, HuggingFace(max_batch=3)], ids=["scripted", "hf"])
def test_a_rollout_gets_the_completions_that_it_gets_alone(
    policy: Policy, sampler: Sampler
) -> None:
    requests = [request(index) for index in range(10)]
    with sampler.serving(policy) as generation:
        for each in requests:
            generation.submit(each)
        alone = {c.request_id: c for c in answered(generation, 10)}
    with shared(policy, sampler) as both:
        for index, each in enumerate(requests):
            both.submit(each)
            ask(both, "west east", seed=index)
        amid = {c.request_id: c for c in answered(both, 10)}
    for name, completion in alone.items():
        assert amid[name].token_ids == completion.token_ids
        assert amid[name].logprobs == pytest.approx(completion.logprobs, abs=1e-5)  # other batches
    assert amid.keys() == alone.keys()


@settings(max_examples=30)
@given(played=st.integers(0, 6), per_thread=st.lists(st.integers(0, 4), max_size=4))
def test_everything_is_answered_once_whoever_asked(
    policy: Policy, played: int, per_thread: list[int]
) -> None:
    exchanges: dict[tuple[int, int], Exchange] = {}

    def converse(client: PolicyClient, thread: int, count: int) -> None:
        for index in range(count):  # one after another, as an analyst's worker does
            exchanges[thread, index] = ask(client, "west", seed=10 * thread + index).result()

    with shared(policy, HuggingFace(max_batch=2)) as both:
        threads = [
            threading.Thread(target=converse, args=(both, *pair)) for pair in enumerate(per_thread)
        ]
        for thread in threads:
            thread.start()
        for index in range(played):
            both.submit(request(index))
        names = [c.request_id for c in answered(both, played)]
        while any(thread.is_alive() for thread in threads):
            both.advance()
            time.sleep(0.001)
    assert sorted(names) == [request(index).id for index in range(played)]
    assert {at: e.request.seed for at, e in exchanges.items()} == {
        (thread, index): 10 * thread + index
        for thread, count in enumerate(per_thread)
        for index in range(count)
    }
    assert all(e.completion.request_id == e.request.id for e in exchanges.values())


class NewestFirst:
    """A generation that answers with its prompt, the newest request first."""

    weight_version = 0
    metrics: dict[str, float] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.waiting: list[SampleRequest] = []

    def submit(self, request: SampleRequest) -> None:
        self.waiting.append(request)

    def collect(self, patience_s: float = 0.0) -> list[Completion]:
        newest = self.waiting.pop()
        return [Completion(newest.id, newest.prompt_ids, (), "", is_cut=False)]


def test_answers_in_any_order_reach_who_asked(policy: Policy) -> None:
    with SharedGeneration(NewestFirst(), policy, encode_chat(policy.tokenizer)) as both:
        asked = [ask(both, message) for message in ("west", "east", "key")]
        for _ in asked:
            both.advance()
        for exchange in (answer.result(timeout=5) for answer in asked):
            assert exchange.completion.request_id == exchange.request.id
            assert exchange.completion.token_ids == exchange.request.prompt_ids


def test_questions_are_answered_in_the_order_asked(policy: Policy) -> None:
    order: list[int] = []
    with shared(policy) as both:
        for index in range(5):
            ask(both, "west").add_done_callback(lambda _, index=index: order.append(index))  # type: ignore[misc]
        while len(order) < 5:
            both.advance()
    assert order == [0, 1, 2, 3, 4]


def test_a_question_is_encoded_as_a_chat_prompt(policy: Policy) -> None:
    with shared(policy) as both:
        answer = ask(both, "west east")
        both.advance()
        assert answer.result().request.prompt_ids == encode_chat(policy.tokenizer)("west east")


def test_advance_without_questions_leaves_the_rollout_alone(policy: Policy) -> None:
    with shared(policy) as both:
        both.advance()
        both.submit(request(0))
        both.advance()
        assert [c.request_id for c in both.collect()] == [request(0).id]


def test_a_completion_of_the_rollout_that_advance_comes_by_is_kept(policy: Policy) -> None:
    with shared(policy) as both:
        both.submit(request(0))
        answer = ask(both, "west")
        while not answer.done():
            both.advance()
        assert [c.request_id for c in both.collect()] == [request(0).id]


def test_a_refusal_concerns_whoever_asked(policy: Policy) -> None:
    with shared(policy, HuggingFace()) as both:
        both.submit(request(0))
        long = both.ask("west", max_tokens=10**6, temperature=1.0, seed=0)
        held = ask(both, "west", schema="{}")
        good = ask(both, "west")
        answered(both, 1)
        while not good.done():
            both.advance()
        assert isinstance(long.exception(), RequestTooLongError)
        with pytest.raises(ValueError, match=r"sampler=hf cannot.*set sampler=vllm"):
            held.result()
        assert good.result().completion.token_ids


def test_the_scripted_sampler_refuses_schemas(policy: Policy) -> None:
    with (
        pytest.raises(ValueError, match=r"sampler=scripted cannot.*set sampler=vllm"),
        ECHO.serving(policy) as generation,
    ):
        generation.submit(replace(request(0), schema="{}"))


def test_what_is_open_at_the_end_fails(policy: Policy) -> None:
    with shared(policy, Scripted(replies=["west"])) as both:
        both.submit(request(0))
        begun = ask(both, "west")
        both.advance()  # the script answers one at a time, and the rollout's first
        waiting, cancelled = ask(both, "west"), ask(both, "west")
        assert cancelled.cancel()
    late = ask(both, "west")
    for answer in (begun, waiting, late):
        with pytest.raises(PolicyClientEndedError, match="not served long enough"):
            answer.result(timeout=5)


def test_a_question_that_was_cancelled_is_not_asked(policy: Policy) -> None:
    asked: list[str] = []

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return "west"

    with shared(policy, Scripted(reply_to=reply)) as both:
        assert ask(both, "west").cancel()
        both.advance()
    assert not asked


class Breaking:
    """A generation whose engine dies."""

    weight_version = 0
    metrics: dict[str, float] = {}  # noqa: RUF012

    def submit(self, request: SampleRequest) -> None: ...

    def collect(self, patience_s: float = 0.0) -> list[Completion]:
        raise RuntimeError("the engine is dead")


def test_an_engine_that_dies_ends_the_rollout_and_the_questions(policy: Policy) -> None:
    with (  # noqa: PT012
        pytest.raises(RuntimeError, match="the engine is dead"),
        SharedGeneration(Breaking(), policy, encode_chat(policy.tokenizer)) as both,
    ):
        answer = ask(both, "west")
        both.advance()
    with pytest.raises(PolicyClientEndedError):
        answer.result(timeout=5)


def test_identity_tells_weights_apart(policy: Policy) -> None:
    again, changed = load_policy(PolicySource("keydoor")), load_policy(PolicySource("keydoor"))
    with torch.no_grad():
        next(changed.model.parameters())[0, 0] += 1e-3
    names = []
    for one in (policy, again, changed):
        with shared(one) as client:
            names.append(client.identity)
    assert names[0] == names[1] != names[2]
