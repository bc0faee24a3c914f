"""What a rollout's responses never do is said."""

from __future__ import annotations

from dataclasses import replace

from opid_lightning.callbacks.rollout_statistics import what_never_works
from opid_lightning.types import Step
from tests.builders import step_of, trajectory_of


def cut(step: Step) -> Step:
    return replace(step, completion=replace(step.completion, is_cut=True))


def test_a_rollout_without_a_valid_action_is_reported_with_the_last_response() -> None:
    steps = [step_of(is_valid=False), step_of(is_valid=False, response="go <to> bed")]
    (warning,) = what_never_works([trajectory_of(*steps)])
    assert "None of the 2 responses" in warning and "'go <to> bed', was read as 'wait'" in warning


def test_a_rollout_whose_responses_all_run_to_their_limit_is_reported() -> None:
    (warning,) = what_never_works([trajectory_of(cut(step_of(response="a b")))])
    assert "ended before rollout.max_response_tokens=3" in warning and "'a b'" in warning


def test_one_response_that_works_is_enough() -> None:
    steps = [cut(step_of()), step_of(is_valid=False)]
    assert what_never_works([trajectory_of(*steps)]) == []
