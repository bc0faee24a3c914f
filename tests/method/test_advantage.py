import dataclasses
import math

import pytest

from opid_lightning.method.advantage import Advantage
from tests.method.rows import all_steps, credited, played

REFERENCE = {"over": "steps", "deviation": "unbiased", "single_member": "raw"}


def outcomes(advantages):
    return advantages.outcome.tolist()


def test_the_paper_counts_each_trajectory_once():
    # Rewards 10 (3 steps) and 0 (1 step): mean 5, deviation of the population 5.
    steps = all_steps(played(10.0, 3), played(0.0, 1, attempt=1))
    assert outcomes(Advantage()(steps)) == pytest.approx([1, 1, 1, -1], abs=1e-6)


def test_the_reference_counts_each_step():
    # Scores 10, 10, 10, 0: mean 7.5, unbiased deviation 5.
    steps = all_steps(played(10.0, 3), played(0.0, 1, attempt=1))
    advantages = Advantage(**REFERENCE)(steps)
    assert outcomes(advantages) == pytest.approx([0.5, 0.5, 0.5, -1.5], abs=1e-6)
    advantages = Advantage(normalise="mean", **REFERENCE)(steps)
    assert outcomes(advantages) == pytest.approx([2.5, 2.5, 2.5, -7.5])


def test_a_group_is_the_attempts_at_one_task():
    steps = all_steps(
        played(1.0, task="a"), played(5.0, task="b"), played(3.0, task="a", attempt=1)
    )
    advantage = Advantage(normalise="mean", single_member="raw")
    assert outcomes(advantage(steps)) == [-1.0, 5.0, 1.0]


def test_the_score_may_be_the_reward_per_step():
    steps = all_steps(played(10.0, 2), played(0.0, 1, attempt=1))
    advantage = Advantage(normalise="mean", divide_by_length=True)
    assert outcomes(advantage(steps)) == [2.5, 2.5, -2.5]


def test_a_penalty_after_normalisation_is_subtracted_as_it_is():
    steps = all_steps(played(10.0, 2, invalid=[1]), played(10.0, 2, attempt=1))
    advantages = Advantage(invalid_action_penalty=0.1)(steps)
    assert outcomes(advantages) == pytest.approx([0.0, -0.1, 0.0, 0.0])


def test_a_penalty_before_normalisation_is_blown_up_where_all_succeed():
    # 120 rows of score 10, of which one loses 0.1: z = -119 / sqrt(120) with unbiased deviation.
    steps = all_steps(
        *(played(10.0, 15, attempt=n, invalid=[0] if n == 0 else []) for n in range(8))
    )
    advantage = Advantage(
        invalid_action_penalty=0.1, penalty_after_normalisation=False, **REFERENCE
    )
    assert outcomes(advantage(steps))[0] == pytest.approx(-119 / math.sqrt(120), rel=1e-3)


def test_a_penalty_before_normalisation_counts_every_step_of_a_trajectory():
    # One loses 1 in its last of two steps, so its score is 10 - 0.5; the mean of both is 9.75.
    steps = all_steps(played(10.0, 2, invalid=[1]), played(10.0, 2, attempt=1))
    advantage = Advantage(
        normalise="mean", invalid_action_penalty=1.0, penalty_after_normalisation=False
    )
    assert outcomes(advantage(steps)) == [0.25, -0.75, 0.25, 0.25]
    scaled = dataclasses.replace(advantage, normalise="mean_std")
    assert outcomes(scaled(steps)) == pytest.approx([1.0, -3.0, 1.0, 1.0], rel=1e-4)


def test_the_state_term_compares_returns_from_the_same_observation():
    # Returns at the door: 0.5 * 8 and 0; in the hall: 8 alone.
    one = played(8.0, 2, observations=["door", "hall"])
    other = played(0.0, 1, attempt=1, observations=["door"])
    advantage = Advantage(normalise="mean", state_weight=0.25, gamma=0.5)
    steps = all_steps(one, other)
    assert advantage(steps).state.tolist() == [0.5, 0.0, -0.5]
    assert credited(steps, advantage=advantage)[0].advantages.tolist() == [4.5, 4.5]


def test_a_penalty_before_normalisation_is_subtracted_from_returns_too():
    one = played(8.0, 1, observations=["door"], invalid=[0])
    other = played(8.0, 1, attempt=1, observations=["door"])
    advantage = Advantage(
        normalise="mean",
        state_weight=1.0,
        invalid_action_penalty=1.0,
        penalty_after_normalisation=False,
    )
    assert advantage(all_steps(one, other)).state.tolist() == [-0.5, 0.5]


def test_the_order_of_groups_changes_no_advantage():
    groups = [played(r, 2, task=q, attempt=n) for q in "ab" for n, r in enumerate((1.0, 0.0, 3.0))]
    advantage = Advantage(state_weight=0.5)
    forwards = credited(all_steps(*groups), advantage=advantage)
    backwards = credited(all_steps(*groups[::-1]), advantage=advantage)
    by_trajectory = {
        (s.scored.routed.trajectory.id, s.scored.routed.step.index): s for s in backwards
    }
    for sample in forwards:
        routed = sample.scored.routed
        other = by_trajectory[routed.trajectory.id, routed.step.index]
        assert sample.outcome_advantage == pytest.approx(other.outcome_advantage, abs=1e-12)
        assert sample.state_advantage == pytest.approx(other.state_advantage, abs=1e-12)


@pytest.mark.parametrize("normalise", ["mean", "mean_std"])
def test_a_group_of_one_attempt_is_refused(normalise):
    advantage = Advantage(normalise=normalise)
    with pytest.raises(ValueError, match=f"group size 1 .*normalise={normalise}.*at least 2"):
        advantage.check_group_size(1)
    advantage.check_group_size(2)


@pytest.mark.parametrize(
    "settings",
    [
        {"normalise": "std"},
        {"over": "rows"},
        {"deviation": "sample"},
        {"single_member": "mean"},
        {"epsilon": 0.0},
        {"invalid_action_penalty": -0.1},
        {"state_weight": float("inf")},
        {"state_weight": float("nan")},
        {"gamma": 1.5},
        {"state_similarity": 1.0},
    ],
)
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=rf"advantage\.{next(iter(settings))} is .*expected"):
        Advantage(**settings)
