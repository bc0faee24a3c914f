from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from opid_lightning.callbacks import PolicyHealth, StageTimer
from opid_lightning.callbacks.policy_health import ratio_health, sampler_gap
from tests.keydoor_run import KeepExperience, fit


def test_ratio_health_by_hand() -> None:
    health = ratio_health(torch.tensor([0.5, 1.0, 1.1, 1.3]), 0.8, 1.2)
    assert health["policy/ratio_mean"] == pytest.approx(0.975)
    assert health["policy/ratio_max"] == pytest.approx(1.3)
    assert health["policy/ratio_outside_clip_share"] == 0.5


def test_sampler_gap_by_hand() -> None:
    gap = sampler_gap(torch.tensor([0.0, -0.1, 0.5]))
    assert gap["sampler/logprob_gap_mean"] == pytest.approx(0.2)
    assert gap["sampler/logprob_gap_max"] == pytest.approx(0.5)
    assert gap["sampler/ratio_outside_share"] == pytest.approx(1 / 3)  # exp(0.5) > 1.2 alone


def test_entropy_estimate_is_over_tokens_not_padding(tmp_path: Path) -> None:
    keep = KeepExperience()
    run = fit(tmp_path, [PolicyHealth(), keep], iterations=1)
    logprobs = torch.cat([sample.scored.old_logprobs for sample in keep.experience.samples])
    assert run.metrics["policy/entropy_estimate"] == pytest.approx(
        -float(logprobs.mean()), abs=1e-5
    )
    # The Hugging Face sampler is the trainer's own model.
    assert run.metrics["sampler/logprob_gap_max"] < 1e-4


def test_stage_timer_counts_the_tokens_of_each_stage(tmp_path: Path) -> None:
    keep = KeepExperience()
    run = fit(tmp_path, [StageTimer(), keep], iterations=1)
    steps = [sample.scored.routed for sample in keep.experience.samples]
    sampled = sum(len(step.response_ids) for step in steps)
    whole = sum(len(step.prompt_ids) + len(step.response_ids) for step in steps)
    assert run.metrics["time/rollout_tokens"] == sampled
    assert run.metrics["time/update_tokens"] == whole
    assert run.metrics["time/scoring_tokens"] == 2 * whole  # old policy and reference, no skills
    stages = ("rollout", "hindsight", "scoring", "update")
    assert all(run.metrics[f"time/{stage}_s"] >= 0 for stage in stages)


def test_an_evaluation_is_no_part_of_the_update(tmp_path: Path) -> None:
    run = fit(tmp_path, [StageTimer()], iterations=1, limit_val_batches=1.0)
    assert run.metrics["time/evaluation_tokens"] > 0
    assert run.metrics["time/evaluation_s"] > 0
    assert run.metrics["time/update_s"] > 0


def test_the_evaluation_before_the_first_update_is_no_part_of_an_iteration(tmp_path: Path) -> None:
    settings = {"limit_val_batches": 1.0, "evaluate_at_start": True, "evaluate_every": 2}
    fit(tmp_path, [StageTimer()], iterations=2, **settings)  # type: ignore[arg-type]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        _, first, second = csv.DictReader(file)
    assert not first["time/evaluation_s"]
    assert float(first["time/update_s"]) > 0
    assert float(second["time/evaluation_s"]) > 0
