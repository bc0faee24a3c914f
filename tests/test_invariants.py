"""What users rely on, whatever else changes. Changing one of these is a decision.

1. The ratio of the first micro-batch is exactly 1, in fp32 and in bf16-mixed.
2. Without skill weights, or without SkillExtraction, OPID is GRPO, bit for bit.
3. Any other callback only watches: taking it away leaves the weights bit-identical.
4. A skill that does not move log-probs adds exactly nothing.
5. The response's token ids are the same in every context.
6. No skill text ever reaches the sampler.
7. Padding, sharing prefixes, and the order and size of micro-batches change nothing but rounding.
8. A resumed run equals the uninterrupted one, bit for bit.
9. A snapshot that shares the policy's storage equals one that copies it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from opid_lightning.callbacks import (
    LearningCurve,
    PolicyHealth,
    RolloutProgressBar,
    RolloutStatistics,
    RoutingStatistics,
    SkillExtraction,
    StageTimer,
    TrajectoryLog,
)
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.method.batching import Batching
from opid_lightning.method.loss import Loss
from opid_lightning.method.scoring import logprobs_of
from opid_lightning.protocols import Generation
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import (
    Analysis,
    Completion,
    Policy,
    SampleRequest,
    Skills,
    Trajectory,
)
from tests.keydoor_run import (
    GRPO,
    SMALL_BATCHES,
    KeepExperience,
    analysing,
    assert_same_weights,
    fit,
    largest_difference,
    sgd,
)

SHARED_PREFIXES = replace(SMALL_BATCHES, share_prefixes=True, micro_batch_tokens=128)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("snapshot", ["shared", "copy"])
@pytest.mark.parametrize("batching", [SMALL_BATCHES, SHARED_PREFIXES], ids=["padded", "merged"])
def test_first_ratio_is_exactly_one(
    tmp_path: Path, precision: str, snapshot: Literal["shared", "copy"], batching: Batching
) -> None:
    run = fit(tmp_path, precision=precision, snapshot=snapshot, batching=batching)
    assert run.metrics["policy/first_ratio_error"] == 0.0
    # Later optimizer steps do move: a ratio of a policy with itself would pass the line above.
    assert run.metrics["policy/ratio_max"] > 1.0


def test_without_skill_weights_opid_is_grpo(tmp_path: Path) -> None:
    weightless = fit(tmp_path / "weightless", method=GRPO)
    without_extraction = fit(tmp_path / "without", [PolicyHealth()])
    opid = fit(tmp_path / "opid")
    assert_same_weights(weightless, without_extraction)
    assert largest_difference(opid, weightless) > 0


@pytest.mark.parametrize(
    "watcher",
    [
        LearningCurve,
        PolicyHealth,
        RolloutProgressBar,
        RolloutStatistics,
        RoutingStatistics,
        StageTimer,
        TrajectoryLog,
    ],
)
def test_callbacks_that_watch_change_no_weight(tmp_path: Path, watcher: type) -> None:
    with_watcher = fit(tmp_path / "with", [SkillExtraction(Rules()), watcher()])
    alone = fit(tmp_path / "alone", [SkillExtraction(Rules())])
    assert_same_weights(with_watcher, alone)


def test_a_skill_that_moves_nothing_adds_nothing(tmp_path: Path) -> None:
    keep = KeepExperience()
    fit(tmp_path, [*analysing(), keep], iterations=1)
    moved = [s for s in keep.experience.samples if s.scored.skill_logprobs]
    assert moved, "no step was routed"
    for sample in moved:
        delta = sample.scored.delta("episode") + sample.scored.delta("step")
        assert torch.equal(sample.skill_advantage == 0, delta == 0)
        plain = sample.outcome_advantage + torch.zeros_like(delta)
        assert torch.equal(sample.advantages[delta == 0], plain[delta == 0])


def test_response_ids_are_the_same_in_every_context() -> None:
    policy = load_policy(PolicySource("keydoor"))
    seen: list[torch.Tensor] = []
    policy.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].clone()), with_kwargs=True
    )
    response = (5, 6, 7)
    logprobs_of(policy, [((1, 2, 3), response), ((1, 2, 9, 9, 3), response)], 1.0)
    assert torch.equal(seen[0][:, -3:], torch.tensor([response, response]))


@dataclass(frozen=True)
class MarkedSkills:
    """An analyst whose every skill can be recognised."""

    marker: str = "take key first"
    identity: str = "marked"

    def start(self) -> None:
        """Needs nothing."""

    def close(self) -> None:
        """Holds nothing."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        return Analysis(Skills(self.marker, {0: self.marker}))


@dataclass(frozen=True)
class Overheard:
    """A sampler that keeps every prompt it was asked to answer."""

    engine: HuggingFace = field(default_factory=HuggingFace)
    prompts: list[tuple[int, ...]] = field(default_factory=list)

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        with self.engine.serving(policy) as generation:
            yield OverheardGeneration(generation, self.prompts)


@dataclass(frozen=True)
class OverheardGeneration:
    generation: Generation
    prompts: list[tuple[int, ...]]

    @property
    def weight_version(self) -> int:
        return self.generation.weight_version

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.generation.metrics

    def submit(self, request: SampleRequest) -> None:
        self.prompts.append(request.prompt_ids)
        self.generation.submit(request)

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        return self.generation.collect(patience_s)


def test_no_skill_text_reaches_the_sampler(tmp_path: Path) -> None:
    sampler, keep = Overheard(), KeepExperience()
    run = fit(tmp_path, [SkillExtraction(MarkedSkills()), keep], sampler=sampler, iterations=2)
    marker = MarkedSkills().marker
    decode = run.module.tokenizer.decode
    skill_prompts = [
        ids for s in keep.experience.samples for ids in s.scored.routed.skill_prompt_ids.values()
    ]
    assert all(marker in decode(ids) for ids in skill_prompts) and skill_prompts
    assert not any(marker in decode(ids) for ids in sampler.prompts) and sampler.prompts


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean"])
def test_micro_batches_change_nothing_but_rounding(tmp_path: Path, aggregation: str) -> None:
    loss = Loss(aggregation=aggregation)  # type: ignore[arg-type]
    one_by_one, in_eights = (
        fit(
            tmp_path / str(rows),
            loss=loss,
            batching=Batching(mini_batch_rows=16, micro_batch_rows=rows),
            optimizer=sgd,
            iterations=1,
        )
        for rows in (1, 8)
    )
    assert largest_difference(one_by_one, in_eights) < 1e-6


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean"])
@pytest.mark.parametrize("tokens", [64, 1024])
def test_shared_prefixes_change_nothing_but_rounding(
    tmp_path: Path, aggregation: str, tokens: int
) -> None:
    loss = Loss(aggregation=aggregation, kl_weight=0.1)  # type: ignore[arg-type]
    padded, merged = (
        fit(
            tmp_path / str(batching.share_prefixes),
            loss=loss,
            batching=batching,
            optimizer=sgd,
            iterations=1,
        )
        for batching in (SMALL_BATCHES, replace(SHARED_PREFIXES, micro_batch_tokens=tokens))
    )
    assert 0 < largest_difference(padded, merged) < 1e-6


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    straight = fit(tmp_path / "straight", iterations=4)
    fit(tmp_path / "resumed", iterations=2)
    last = tmp_path / "resumed" / "checkpoints" / "last.ckpt"
    resumed = fit(tmp_path / "resumed", iterations=4, resume_from=last)
    assert_same_weights(straight, resumed)


def test_a_resumed_run_plays_each_iteration_once(tmp_path: Path) -> None:
    fit(tmp_path, iterations=1)
    sampler = Overheard()
    resumed = fit(
        tmp_path,
        iterations=2,
        sampler=sampler,
        resume_from=tmp_path / "checkpoints" / "last.ckpt",
    )
    straight = Overheard()
    fit(tmp_path / "straight", iterations=2, sampler=straight)
    assert resumed.trainer.current_epoch == 2
    assert sampler.prompts == straight.prompts[-len(sampler.prompts) :]
    assert len(sampler.prompts) < len(straight.prompts)


def test_shared_and_copied_snapshots_are_equal(tmp_path: Path) -> None:
    shared = fit(tmp_path / "shared", snapshot="shared")
    copied = fit(tmp_path / "copied", snapshot="copy")
    assert_same_weights(shared, copied)
