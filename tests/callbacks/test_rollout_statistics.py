"""RolloutStatistics: observations that did not fit are counted and said."""

from __future__ import annotations

import dataclasses

import lightning
import pytest

from opid_lightning.callbacks.rollout_statistics import RolloutStatistics, rollout_statistics
from tests.builders import experience_of, sample_of, step_of, trajectory_of

WHOLE = step_of(0)
CUT = dataclasses.replace(
    step_of(1), prompt=dataclasses.replace(step_of(1).prompt, num_cut_characters=1234)
)
TRAJECTORY = trajectory_of(WHOLE, CUT)


def test_prompts_with_a_part_of_the_newest_observation_are_counted() -> None:
    assert rollout_statistics([TRAJECTORY])["rollout/cut_observations"] == 1
    assert rollout_statistics([trajectory_of(WHOLE)])["rollout/cut_observations"] == 0


def test_the_first_of_them_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    callback = RolloutStatistics()
    for trajectory in (trajectory_of(WHOLE), TRAJECTORY, TRAJECTORY):
        callback.on_experience_end(trainer, experience_of(sample_of(trajectory, num_tokens=2)))
    (said,) = [r.getMessage() for r in caplog.records if r.name.endswith("rollout_statistics")]
    assert "1 prompts show a part" in said
    assert f"step 1 of '{TRAJECTORY.id}', less 1,234 characters" in said
    assert "rollout.max_prompt_tokens" in said
