"""What is said about settings under which a run would not be what it seems."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning
import pytest

from opid_lightning.method.batching import Batching
from opid_lightning.training.trainer_checks import check_trainer, warn_of_idle_ranks
from tests.keydoor_run import fit

ROW = (1,)


def test_ranks_that_train_on_nothing_are_told_of() -> None:
    plan = Batching(mini_batch_rows=6, micro_batch_rows=2).plan([ROW] * 12, seed=0, num_ranks=4)
    with pytest.warns(UserWarning, match="3 micro-batches at most, so that 1 of 4 ranks"):
        warn_of_idle_ranks(plan, 4)


def test_a_last_short_step_is_nothing_to_tell_of() -> None:
    plan = Batching(mini_batch_rows=8, micro_batch_rows=2).plan([ROW] * 15, seed=0, num_ranks=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_idle_ranks(plan, 4)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_weights_in_another_precision_than_float32_are_refused(
    tmp_path: Path, precision: str
) -> None:
    expected = rf"trainer\.precision is {precision}; expected one of 32-true, bf16-mixed"
    with pytest.raises(ValueError, match=expected):
        fit(tmp_path, precision=precision)


@pytest.mark.parametrize(
    "settings",
    [
        {"val_check_interval": 0.5},
        {"val_check_interval": 1},  # after each batch
        {"val_check_interval": 3, "check_val_every_n_epoch": None},
    ],
)
def test_an_evaluation_amid_an_iteration_is_refused(settings: dict[str, Any]) -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        logger=False,
        **settings,
    )
    with pytest.raises(ValueError, match=r"leave trainer\.val_check_interval at 1\.0"):
        check_trainer(trainer)
