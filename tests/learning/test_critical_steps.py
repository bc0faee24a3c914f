import pytest
import torch

from opid_lightning.learning.critical_steps import CriticalSteps

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
