"""What is said about settings under which a run would not be what it seems."""

from __future__ import annotations

import warnings

import pytest

from opid_lightning.learning.batching import Batching
from opid_lightning.trainer_checks import warn_of_idle_ranks

ROW = (1,)


def test_ranks_that_train_on_nothing_are_told_of() -> None:
    plan = Batching(mini_batch_rows=6, micro_batch_rows=2).plan([ROW] * 12, seed=0, num_ranks=4)
    with pytest.warns(UserWarning, match="3 micro-batches at most, so that 1 of 4 ranks"):
        warn_of_idle_ranks(plan, 4)


def test_a_last_short_step_is_nothing_to_tell_of() -> None:
    plan = Batching(mini_batch_rows=8, micro_batch_rows=2).plan([ROW] * 9, seed=0, num_ranks=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_idle_ranks(plan, 4)
