from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.method.loss_terms import AGGREGATIONS, aggregate, token_mean
from opid_lightning.types import Totals

VALUES = torch.tensor([[1.0, 2.0, 3.0], [10.0, 50.0, 70.0]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])
EXPECTED = {
    "token-mean": (1 + 2 + 3 + 10) / 4,
    "seq-mean-token-sum": (6 + 10) / 2,
    "seq-mean-token-mean": (2 + 10) / 2,
    "seq-mean-token-sum-norm": (6 + 10) / 3,
}


def totals_of_mask(mask):
    return Totals(len(mask), int(mask.sum()), int(mask.sum(dim=-1).max()), 1, 0)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_aggregates_by_hand(how):
    assert aggregate(VALUES, MASK, how).item() == pytest.approx(EXPECTED[how])
    assert aggregate(VALUES, MASK, how, totals_of_mask(MASK)).item() == pytest.approx(EXPECTED[how])


@pytest.mark.parametrize("how", AGGREGATIONS)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.data())
def test_how_rows_are_cut_into_micro_batches_changes_nothing(how, lengths, data):
    lengths = [*lengths, 5]
    mask = (torch.arange(5) < torch.tensor(lengths).unsqueeze(-1)).long()
    values = torch.randn(mask.shape, dtype=torch.float64)
    totals = totals_of_mask(mask)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(lengths))))), len(lengths)]
    parts = torch.zeros((), dtype=torch.float64)
    for start, end in pairwise(cuts):
        rows = slice(start, end)
        width = max(1, *lengths[rows]) if end > start else 1
        parts = parts + aggregate(values[rows, :width], mask[rows, :width], how, totals)
    assert parts.item() == pytest.approx(aggregate(values, mask, how, totals).item(), abs=1e-12)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_a_row_without_tokens_adds_nothing_and_has_no_gradient(how):
    values = torch.ones(1, 1, requires_grad=True)
    loss = aggregate(values, torch.zeros(1, 1), how, Totals(3, 7, 4, 2, 0))
    loss.backward()
    assert (loss.item(), values.grad.item()) == (0.0, 0.0)


def test_without_totals_an_empty_row_makes_a_mean_of_means_nan_as_in_the_reference():
    mask = torch.tensor([[1, 1, 1], [0, 0, 0]])
    assert aggregate(VALUES, mask, "seq-mean-token-mean").isnan()
    assert aggregate(VALUES, torch.zeros_like(mask), "token-mean").item() == 0


def test_a_mean_over_tokens_takes_masks_of_any_kind():
    for mask in (MASK, MASK.bool(), MASK.float()):
        assert token_mean(VALUES > 2, mask).item() == pytest.approx(0.5)


def test_an_unknown_aggregation_is_refused():
    with pytest.raises(ValueError, match=r"'mean'.*token-mean"):
        aggregate(VALUES, MASK, "mean")
