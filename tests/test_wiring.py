"""A real run beside what its settings say, recomputed row by row without the run's own code."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from opid_lightning.callbacks import SkillExtraction
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.iteration import mean_over_ranks
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching
from opid_lightning.method.injection import Injection
from opid_lightning.method.loss import Loss
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.method.rules.distillation import Distillation
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.training.datamodule import iteration_seed
from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.training.module import OPIDModule
from opid_lightning.types import Analysis, Batch, Experience, Skills, TokenIds, Trajectory
from tests.keydoor_run import OPID, KeepExperience, fit, keydoor_data

WORDS = ("left", "right", "take", "open")
TEMPERATURE, RATE, CLIP, SEED = 0.7, 4.0, 0.05, 7
BATCHING = Batching(mini_batch_rows=8, micro_batch_rows=3)


def episode_skill_of(trajectory: Trajectory) -> str:
    return " ".join(step.action.text for step in trajectory.steps)


@dataclass(frozen=True)
class Recalls:
    """An analyst whose skills say of which attempt and step they are; it refuses short ones."""

    identity: str = "recalls"

    def start(self) -> None:
        """Needs nothing."""

    def close(self) -> None:
        """Holds nothing."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        if len(trajectory.steps) < 4:
            return Analysis(None, "short")
        skills = {step.index: WORDS[step.index % 4] for step in trajectory.steps[::3]}
        return Analysis(Skills(episode_skill_of(trajectory), skills))


@dataclass
class Seen:
    """One iteration as callbacks see it."""

    experience: Experience
    weights: torch.nn.Module  # when it was scored
    batches: list[Batch] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


class Watch(RolloutCallback):
    def __init__(self) -> None:
        self.iterations: list[Seen] = []

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        module: Any = trainer.lightning_module
        self.iterations.append(Seen(experience, copy.deepcopy(module.policy.model)))

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.iterations[-1].batches.append(batch)
        self.iterations[-1].rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.fixture(scope="module")
def iterations(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """Four iterations of SGD, with warm-up and decay, clipping, KL, a state and a skill term."""
    watch = Watch()
    module = OPIDModule(
        PolicySource("keydoor"),
        Loss(kl_weight=0.1),
        lambda parameters: torch.optim.SGD(parameters, lr=RATE),
        warmup_iterations=2,
        decay="linear",
    )
    data = keydoor_data(
        OPID,
        BATCHING,
        Rollout(
            group_size=3,
            max_prompt_tokens=512,
            max_response_tokens=4,
            temperature=TEMPERATURE,
        ),
        tasks_per_iteration=2,
        seed=SEED,
        env=Keydoor(max_steps=7),
        advantage=Advantage(state_weight=0.5),
    )
    lightning.Trainer(
        accelerator="cpu",
        max_epochs=4,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        limit_val_batches=0.0,
        num_sanity_val_steps=0,
        gradient_clip_val=CLIP,
        logger=False,
        enable_checkpointing=False,
        callbacks=[SkillExtraction(Recalls(), min_success_share=0.0), watch],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path_factory.mktemp("wiring"),
    ).fit(module, data)
    return watch.iterations


@torch.no_grad()
def plain_logprobs(model: torch.nn.Module, prompt: TokenIds, response: TokenIds) -> torch.Tensor:
    """Of one response by itself, from all logits."""
    logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
    logprobs = (logits / TEMPERATURE).log_softmax(-1)
    return logprobs[torch.arange(len(response)), torch.tensor(response)]


def test_rows_are_scored_by_the_policy_of_now_and_the_reference_of_the_start(
    iterations: list[Seen],
) -> None:
    reference = load_policy(PolicySource("keydoor")).model
    near = {"rtol": 0, "atol": 1e-4}
    for seen in (iterations[0], iterations[2]):
        for sample in seen.experience.samples:
            scored, routed = sample.scored, sample.scored.routed
            response = routed.step.completion.token_ids
            plain = routed.step.prompt.token_ids, response
            torch.testing.assert_close(
                scored.old_logprobs, plain_logprobs(seen.weights, *plain), **near
            )
            torch.testing.assert_close(
                scored.reference_logprobs, plain_logprobs(reference, *plain), **near
            )
            for level, prompt in routed.skill_prompt_ids.items():
                found = plain_logprobs(seen.weights, prompt, response)
                torch.testing.assert_close(scored.skill_logprobs[level], found, **near)
    moved = [s.scored.old_logprobs - s.scored.reference_logprobs for s in seen.experience.samples]
    assert torch.cat(moved).abs().max() > 0.05, "the policy has to move for this to say anything"


def test_the_sampler_reports_log_probs_at_the_temperature(iterations: list[Seen]) -> None:
    for sample in iterations[2].experience.samples:
        sampled = torch.tensor(sample.scored.routed.step.completion.logprobs)
        torch.testing.assert_close(sampled, sample.scored.old_logprobs, rtol=0, atol=1e-4)


def test_each_step_has_the_skills_of_its_own_attempt(iterations: list[Seen]) -> None:
    levels = set()
    for seen in iterations:
        refused = [t.id for t in seen.experience.trajectories if len(t.steps) < 4]
        assert dict(seen.experience.hindsight.failures) == dict.fromkeys(refused, "short")
        for sample in seen.experience.samples:
            routed = sample.scored.routed
            index, route = routed.step.index, routed.route
            levels.add(route.level)
            if routed.trajectory.id in refused:
                assert route.level == "none"
            elif index % 3 == 0:
                assert (route.episode_skill, route.step_skill) == ("", WORDS[index % 4])
            else:
                assert route.episode_skill == episode_skill_of(routed.trajectory)
    assert {"episode", "step"} <= levels


def test_every_iteration_has_tasks_noise_and_order_of_its_own(iterations: list[Seen]) -> None:
    training = {task.id for task in Keydoor().tasks("train")}
    groups = [{t.task.id for t in seen.experience.trajectories} for seen in iterations]
    assert all(group < training for group in groups)
    assert len(set.union(*groups)) == sum(map(len, groups)) == 8
    for number, seen in enumerate(iterations):
        rows = [sample.scored.routed for sample in seen.experience.samples]
        sequences = [row.prompt_ids + row.response_ids for row in rows]
        assert seen.experience.plan == BATCHING.plan(sequences, iteration_seed(SEED, number))


def test_batches_know_temperature_and_sizes_of_their_optimizer_step(
    iterations: list[Seen],
) -> None:
    for seen in iterations:
        batches = iter(seen.batches)
        for step in seen.experience.plan:
            parts = [next(batches) for _ in step]
            responses = torch.cat([part.response_mask.sum(dim=1) for part in parts])
            assert {part.temperature for part in parts} == {TEMPERATURE}
            (totals,) = {part.totals for part in parts}
            assert totals.num_rows == len([row for part in step for row in part])
            assert totals.num_tokens == int(responses.sum())
            assert totals.num_batches == len(step)
        assert next(batches, None) is None


def test_the_learning_rate_follows_the_iteration_alone(iterations: list[Seen]) -> None:
    assert all(len(seen.experience.plan) > 1 for seen in iterations)
    rates = [set(seen.rates) for seen in iterations]
    assert rates == [{RATE / 2}, {RATE}, {RATE}, {RATE / 2}]


def test_no_optimizer_step_moves_farther_than_clipping_allows(iterations: list[Seen]) -> None:
    for seen, after in pairwise(iterations):
        before, now = (dict(each.weights.named_parameters()) for each in (seen, after))
        moved = torch.stack([(now[name] - before[name]).norm() for name in now]).norm()
        assert 0 < moved <= len(seen.experience.plan) * seen.rates[0] * CLIP * (1 + 1e-4)


def test_distillation_alone_has_its_skills(tmp_path: Path) -> None:
    keep = KeepExperience()
    method = Method(Distillation(scale=0.1))
    callbacks = [SkillExtraction(Recalls(), min_success_share=0.0), keep]
    fit(tmp_path, callbacks, iterations=1, method=method)
    levels = {sample.scored.routed.route.level for sample in keep.experience.samples}
    assert {"episode", "step"} <= levels


@pytest.mark.parametrize("level", ["episode", "step"])
def test_a_level_without_weight_is_not_routed_to(tmp_path: Path, level: str) -> None:
    keep = KeepExperience()
    weights = {"episode_weight": 0.0, "step_weight": 0.0, f"{level}_weight": 0.1}
    callbacks = [SkillExtraction(Recalls(), min_success_share=0.0), keep]
    fit(tmp_path, callbacks, iterations=1, method=Method(Additive(**weights)))
    levels = {sample.scored.routed.route.level for sample in keep.experience.samples}
    assert levels - {"none"} == {level}


def test_skill_prompts_have_the_budget_of_the_rollout() -> None:
    data = keydoor_data(rollout=Rollout(max_prompt_tokens=300))
    assert data.iteration.injection == Injection(max_prompt_tokens=300)


def test_figures_of_the_sampler_are_means_over_ranks() -> None:
    assert mean_over_ranks([{"batch_mean": 2.0}, {"batch_mean": 5.0}]) == {"batch_mean": 3.5}
