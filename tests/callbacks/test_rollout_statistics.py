"""RolloutStatistics: what did not fit is counted, and what never works is said."""

from __future__ import annotations

import dataclasses

import lightning
import pytest

from opid_lightning.callbacks.rollout_statistics import (
    RolloutStatistics,
    rollout_statistics,
    what_never_works,
)
from opid_lightning.types import Step
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


def cut(step: Step) -> Step:
    return dataclasses.replace(step, completion=dataclasses.replace(step.completion, is_cut=True))


def test_a_rollout_without_a_valid_action_is_reported_with_the_last_response() -> None:
    steps = [step_of(is_valid=False), step_of(is_valid=False, response="go <to> bed")]
    (warning,) = what_never_works([trajectory_of(*steps)]).values()
    assert "None of the 2 responses" in warning and "'go <to> bed', was read as 'wait'" in warning


def test_a_rollout_whose_responses_all_run_to_their_limit_is_reported() -> None:
    (warning,) = what_never_works([trajectory_of(cut(step_of(response="a b")))]).values()
    assert "ended before rollout.max_response_tokens=3" in warning and "'a b'" in warning


def test_one_response_that_works_is_enough() -> None:
    steps = [cut(step_of()), step_of(is_valid=False)]
    assert what_never_works([trajectory_of(*steps)]) == {}


def test_what_never_works_is_said_once_a_run_however_its_text_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    for _ in range(2):  # runs in one process, each of which is told
        callback = RolloutStatistics()
        for response in ("go", "sing", "fly"):
            played = trajectory_of(cut(step_of(is_valid=False, response=response)))
            callback.on_experience_end(trainer, experience_of(sample_of(played, num_tokens=2)))
    said = [r.getMessage() for r in caplog.records if r.name.endswith("rollout_statistics")]
    assert len(said) == 4 and said[:2] == said[2:] and all("'go'" in line for line in said)
    assert "was a valid action" in said[0] and "ended before" in said[1]
