"""Real runs held to an update that was written from the formulas alone (independent_update.py).

Iteration 2 of 5 is compared, as in the first one the old policy is the reference, and a share of
the learning rate that compounds, or counts optimizer steps, is right.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from opid_lightning.callbacks import PolicyHealth, SkillExtraction, TrajectoryLog
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching
from opid_lightning.method.loss import Loss
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.method.rules.distillation import Distillation
from tests.independent_update import Scores, Settings, advantages_of, scored, updated
from tests.keydoor_run import SHORT_RESPONSES, KeepExperience, Run, fit, sgd

PADDED = Batching(mini_batch_rows=24, micro_batch_rows=4)
MERGED = replace(PADDED, share_prefixes=True, micro_batch_tokens=128)
OPID = Method(Additive(episode_weight=0.3, step_weight=0.2))
GIGPO = Advantage(state_weight=0.5)
SETTINGS = Settings(
    temperature=0.7,
    base_rate=0.5,
    rate_share=2 / 3,  # the second of three iterations that warm up
    max_norm=0.05,
    skill_weights={"episode": 0.3, "step": 0.2},
    state_weight=0.5,
    kl_weight=0.4,
    entropy_weight=0.02,
)
LOSS = Loss(kl_weight=0.4, entropy_weight=0.02)
ITERATION = 1
CASES = {
    "opid_gigpo": (OPID, GIGPO, LOSS, PADDED, SETTINGS),
    "merged": (OPID, GIGPO, LOSS, MERGED, SETTINGS),
    "two epochs": (OPID, GIGPO, LOSS, replace(PADDED, ppo_epochs=2), SETTINGS),
    "gspo": (OPID, GIGPO, replace(LOSS, surrogate="gspo"), PADDED, replace(SETTINGS, is_gspo=True)),
    "distillation alone": (
        Method(Distillation(scale=0.3)),
        Advantage(),
        Loss(kl_weight=0.0),
        PADDED,
        replace(
            SETTINGS,
            skill_weights={"episode": 0.0, "step": 0.0},
            state_weight=0.0,
            kl_weight=0.0,
            entropy_weight=0.0,
            distillation_weight=0.3,
        ),
    ),
}


def played(
    folder: Path, method: Method, advantage: Advantage, loss: Loss, batching: Batching
) -> tuple[Run, Any]:
    keep = KeepExperience()
    run = fit(
        folder,
        [SkillExtraction(Rules()), TrajectoryLog(), PolicyHealth(), keep],
        iterations=ITERATION + 1,
        tasks_per_iteration=2,
        method=method,
        advantage=advantage,
        loss=loss,
        batching=batching,
        rollout=replace(SHORT_RESPONSES, temperature=0.7),
        optimizer=sgd,
        warmup_iterations=3,
        gradient_clip_val=0.05,
    )
    return run, keep.experience


def logged_rows(folder: Path, experience: Any) -> list[dict[str, Any]]:
    """The log, with the ids of the prompts that hold skills, which it does not keep."""
    rows = pq.read_table(folder / f"trajectories/train-{ITERATION:06d}.parquet").to_pylist()
    return [
        row | {"skill_prompts": dict(sample.scored.routed.skill_prompt_ids)}
        for row, sample in zip(rows, experience.samples, strict=True)
    ]


def model_before(folder: Path) -> torch.nn.Module:
    """The policy after the first iteration, from its checkpoint."""
    (path,) = (folder / "checkpoints").glob("epoch=0-*.ckpt")
    weights = torch.load(path, weights_only=True)["state_dict"]
    model = load_policy(PolicySource("keydoor")).model
    model.load_state_dict({name.removeprefix("model."): w for name, w in weights.items()})
    return model


def assert_logged(rows: list[dict[str, Any]], scores: Scores, settings: Settings) -> None:
    advantages = advantages_of(rows, scores, settings)
    for row, old, skilled, reference, advantage in zip(
        rows, scores.old, scores.skilled, scores.reference, advantages, strict=True
    ):
        assert row["old_logprobs"] == pytest.approx(old.tolist(), abs=1e-4)
        assert row["scored_levels"] == list(skilled)
        for level, new in skilled.items():
            assert row[f"{level}_delta"] == pytest.approx((new - old).tolist(), abs=2e-4)
        if settings.kl_weight:
            assert row["reference_logprobs"] == pytest.approx(reference.tolist(), abs=1e-4)
        trained = row["outcome_advantage"] + row["state_advantage"]
        found = [trained + skill for skill in row["skill_advantage"]]
        assert found == pytest.approx(advantage.tolist(), abs=2e-4)


@pytest.mark.parametrize("case", CASES)
def test_a_run_takes_the_steps_that_the_formulas_give(tmp_path: Path, case: str) -> None:
    *given, settings = CASES[case]
    run, experience = played(tmp_path, *given)
    first = load_policy(PolicySource("keydoor")).model
    before, rows = model_before(tmp_path), logged_rows(tmp_path, experience)
    assert_logged(rows, scored(before, first, rows, settings.temperature), settings)

    assert len({step for row in rows for step in row["optimizer_steps"]}) > 1
    expected = updated(before, first, rows, settings).state_dict()
    moved = before.state_dict()
    for name, weights in run.weights.items():
        step = (expected[name] - moved[name]).abs().max()
        torch.testing.assert_close(weights, expected[name], atol=float(step) * 1e-3, rtol=0)


def test_the_same_tasks_are_sampled_anew_in_every_iteration(tmp_path: Path) -> None:
    fit(
        tmp_path,
        [TrajectoryLog()],
        rollout=replace(SHORT_RESPONSES, temperature=0.7),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        tasks_per_iteration=32,
    )
    first, second = (
        pq.read_table(tmp_path / f"trajectories/train-{n:06d}.parquet").to_pylist() for n in (0, 1)
    )
    answers = [
        {(row["task_id"], row["attempt"]): row["response"] for row in rows if row["step"] == 0}
        for rows in (first, second)
    ]
    both = answers[0].keys() & answers[1].keys()
    assert len(both) > 20
    assert sum(answers[0][key] != answers[1][key] for key in both) > len(both) / 4
