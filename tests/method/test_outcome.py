import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.method.advantage import GroupNormalisation, episode_scores, penalties
from opid_lightning.method.groups import first_rows, number_groups

ROWS = st.lists(st.tuples(st.integers(0, 3), st.floats(-10, 10, width=32)), min_size=1)


def normalisation(normalise="mean_std", deviation="population", single="zero", epsilon=1e-6):
    return GroupNormalisation(normalise, deviation, single, epsilon)


def test_advantages_by_hand_with_the_deviation_of_the_population():
    # Group a: 1, 1, 0, 0 with mean 1/2 and deviation 1/2; group b: 3, 5 with mean 4, deviation 1.
    scores = torch.tensor([1.0, 3.0, 1.0, 0.0, 5.0, 0.0])
    groups = number_groups("abaaba")
    advantages = normalisation(epsilon=0.5)(scores, groups)
    assert torch.allclose(
        advantages, torch.tensor([0.5, -1 / 1.5, 0.5, -0.5, 1 / 1.5, -0.5]), atol=1e-7
    )
    assert normalisation("mean")(scores, groups).tolist() == [0.5, -1, 0.5, -0.5, 1, -0.5]


def test_the_unbiased_deviation_divides_by_one_less():
    scores = torch.tensor([0.0, 2.0])
    advantages = normalisation(deviation="unbiased", epsilon=1e-12)(scores, torch.tensor([0, 0]))
    assert torch.allclose(advantages, torch.tensor([-1.0, 1.0]) / 2**0.5)


def test_only_counted_rows_enter_the_statistics_but_all_are_normalised():
    scores = torch.tensor([1.0, 9.0, 3.0])
    counted = torch.tensor([True, False, True])
    advantages = normalisation("mean")(scores, torch.tensor([0, 0, 0]), counted)
    assert advantages.tolist() == [-1, 7, 1]


@pytest.mark.parametrize(("single", "expected"), [("zero", 0.0), ("raw", 7.0)])
@pytest.mark.parametrize("normalise", ["mean", "mean_std"])
def test_a_group_of_one(single, expected, normalise):
    advantage = normalisation(normalise, "unbiased", single, 1e-9)
    assert advantage(torch.tensor([7.0]), torch.tensor([0])).item() == pytest.approx(expected)


@given(ROWS, st.sampled_from(["mean", "mean_std"]), st.sampled_from(["population", "unbiased"]))
def test_advantages_of_a_group_sum_to_zero(rows, normalise, deviation):
    groups = number_groups(group for group, _ in rows)
    scores = torch.tensor([score for _, score in rows], dtype=torch.float64)
    advantages = normalisation(normalise, deviation)(scores, groups)
    sums = torch.zeros(len(groups), dtype=torch.float64).index_add(0, groups, advantages)
    assert sums.abs().max() < 1e-6


@given(st.floats(-100, 100, width=32), st.integers(1, 9))
def test_a_tied_group_has_advantage_exactly_zero(score, size):
    scores = torch.full((size,), score)
    advantages = normalisation("mean_std", "unbiased")(scores, torch.zeros(size, dtype=torch.long))
    assert advantages.tolist() == [0.0] * size


def test_nan_spoils_its_own_group_only():
    scores = torch.tensor([float("nan"), 1.0, 2.0, 4.0])
    advantages = normalisation("mean")(scores, torch.tensor([0, 0, 1, 1]))
    assert advantages.isnan().tolist() == [True, True, False, False]


def test_first_rows_of_mixed_groups():
    assert first_rows(number_groups("babcab")).tolist() == [1, 1, 0, 1, 0, 0]


def test_penalties_and_scores_by_hand():
    assert penalties(torch.tensor([1.0, 0.0]), 0.5).tolist() == [0.0, 0.5]
    rewards, lengths = torch.tensor([10.0, 1.0]), torch.tensor([5.0, 2.0])
    assert episode_scores(rewards, lengths, divide_by_length=False).tolist() == [10.0, 1.0]
    assert episode_scores(rewards, lengths, divide_by_length=True).tolist() == [2.0, 0.5]
