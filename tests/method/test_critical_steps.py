import pytest
import torch

from opid_lightning.method.critical_steps import CriticalSteps, statistically_critical
from tests.builders import step_of, trajectory_of

# State x: returns 1, 0; y: 0, 1; z: 0, 5. Variances 1/4, 1/4, 25/4: the cutoff of 3/4 is 3.25.
RETURNS = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 5.0])
STATES = torch.tensor([0, 0, 1, 1, 2, 2])
TRAJECTORIES = ["t", "u", "t", "u", "t", "u"]


def found(**settings):
    return CriticalSteps(**settings)(RETURNS, STATES, TRAJECTORIES)


def test_the_worst_step_from_the_state_that_varies_most():
    result = found()
    assert result.mask.tolist() == [0, 0, 0, 0, 1, 0]
    assert (result.num_groups, result.num_eligible_groups) == (3, 1)
    assert result.variance_cutoff == pytest.approx(3.25)


def test_each_trajectory_has_its_own_largest_deviations():
    result = found(variance_quantile=0.0, below_mean_only=False)
    assert result.mask.tolist() == [0, 0, 0, 0, 1, 1]
    result = found(variance_quantile=0.0, below_mean_only=False, per_trajectory=2)
    assert result.mask.tolist() == [1, 1, 0, 0, 1, 1]  # of equal ones the earlier
    result = found(variance_quantile=0.0)
    assert result.mask.tolist() == [0, 1, 0, 0, 1, 0]


def test_groups_must_be_large_enough():
    result = found(min_group_size=3)
    assert not result.mask.any()
    assert (result.num_groups, result.variance_cutoff) == (3, None)


def test_a_state_of_one_outcome_is_never_critical():
    result = CriticalSteps(variance_quantile=0.0, below_mean_only=False)(
        torch.ones(4), torch.tensor([0, 0, 1, 1]), "tutu"
    )
    assert not result.mask.any()


def test_asking_for_no_step_finds_none():
    assert not found(per_trajectory=0).mask.any()


@pytest.mark.parametrize(
    "wrong", [{"min_group_size": 0}, {"variance_quantile": 1.5}, {"per_trajectory": -1}]
)
def test_a_setting_out_of_range_is_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*expected"):
        CriticalSteps(**wrong)


def played(attempt, *observations, won, task_id="q"):
    """A win earns 1 with its last step."""
    last = len(observations) - 1
    steps = [
        step_of(index, observation=text, reward=float(won and index == last))
        for index, text in enumerate(observations)
    ]
    return trajectory_of(*steps, won=won, attempt=attempt, task_id=task_id)


# With gamma 1/2 their returns are 1/2, 1 and 0, 0, 0.
WIN = played(0, "hall", "garden", won=True)
LOSS = played(1, "hall", "kitchen", "hall", won=False)
ANY_STATE = CriticalSteps(variance_quantile=0.0, per_trajectory=5)


def test_the_steps_that_ended_worse_than_others_from_the_same_observation_are_critical():
    # hall: returns 1/2, 0, 0, mean 1/6. Nobody else was in the garden or the kitchen.
    assert statistically_critical([WIN, LOSS], 0.5, ANY_STATE) == {"q#0": (), "q#1": (0, 2)}
    both_ways = CriticalSteps(variance_quantile=0.0, per_trajectory=1, below_mean_only=False)
    assert statistically_critical([WIN, LOSS], 0.5, both_ways) == {"q#0": (0,), "q#1": (0,)}


def test_returns_are_discounted():
    # From the hall, two steps to the win earn 1/2 and one step earns 1: only that differs.
    slow, quick = WIN, played(1, "hall", won=True)
    assert statistically_critical([slow, quick], 0.5, ANY_STATE) == {"q#0": (0,), "q#1": ()}
    assert statistically_critical([slow, quick], 1.0, ANY_STATE) == {"q#0": (), "q#1": ()}


def test_only_attempts_at_the_same_task_are_compared():
    other = played(0, "hall", "kitchen", won=False, task_id="p")
    assert statistically_critical([WIN, other], 0.5, ANY_STATE) == {"q#0": (), "p#0": ()}


def test_a_step_is_named_by_its_own_index_and_no_trajectories_have_none():
    late = trajectory_of(step_of(4, observation="hall"), attempt=2, task_id="q")
    assert statistically_critical([WIN, late], 0.5, ANY_STATE)["q#2"] == (4,)
    assert statistically_critical([], 0.5, ANY_STATE) == {}
