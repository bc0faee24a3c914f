"""Which checkpoints are kept, by real runs and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest

from opid_lightning.callbacks import IterationCheckpoint
from tests.resumed_runs import (
    checkpoint_in,
    complaint,
    finished,
    fit,
    iterations_in,
    resumed,
)

SCORED = "callbacks.scored={class_path: tests.callbacks.test_iteration_checkpoint.Scored}"
BEST = "callbacks.checkpoint.monitor=my_score"
# Higher is better. Evaluated are iterations 2, 4, and 5 as the last.
SCORES = {1: 9.0, 2: 5.0, 3: 9.0, 4: 3.0, 5: 4.0, 6: 7.0}


class Scored(lightning.Callback):
    """Logs a score in evaluations alone, as an evaluation's own metrics are."""

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.log("my_score", SCORES[trainer.current_epoch + 1])


def test_the_two_newest_are_kept_and_last_is_the_newest(tmp_path: Path) -> None:
    assert fit(tmp_path, 3) == 0
    checkpoints = tmp_path / "checkpoints"
    assert iterations_in(checkpoints) == [2, 3]
    assert (checkpoints / "last.ckpt").is_symlink()
    assert finished(checkpoints) == 3
    (checkpoints / "last.ckpt").resolve().write_bytes(b"damaged")
    assert resumed(tmp_path, 4) == 0
    assert iterations_in(checkpoints) == [2, 3, 4], "what was resumed from is left alone"
    assert finished(checkpoints) == 4


def test_the_best_of_the_evaluated_is_kept_beside_them_also_by_a_resumed_run(
    tmp_path: Path,
) -> None:
    checkpoints = tmp_path / "checkpoints"
    every_two = ("trainer.check_val_every_n_epoch=2", SCORED, BEST)
    assert fit(tmp_path, 5, *every_two) == 0
    assert iterations_in(checkpoints) == [2, 4, 5]
    assert finished(checkpoints) == 5
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    assert resumed(moved, 6, *every_two) == 0
    assert iterations_in(moved / "checkpoints") == [5, 6], "6 is better than 2"


def test_a_score_that_training_does_not_log_is_named_in_the_first_iteration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The evaluation that would warn of it is two iterations away.
    monitor = "callbacks.checkpoint.monitor=text"
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="iteration 2 logged no text"):
        assert fit(tmp_path, 2, monitor, "trainer.check_val_every_n_epoch=2") == 0
    assert [m for m in caplog.messages if "iteration 1 logged no text" in m]


def test_the_lowest_may_be_the_best(tmp_path: Path) -> None:
    low = ("callbacks.checkpoint.mode=min", "callbacks.checkpoint.save_top_k=2")
    every_two = "trainer.check_val_every_n_epoch=2"
    assert fit(tmp_path, 6, every_two, SCORED, BEST, *low) == 0
    assert iterations_in(tmp_path / "checkpoints") == [2, 4, 5, 6]


def test_the_last_iteration_is_written_whatever_the_interval_and_so_is_the_best(
    tmp_path: Path,
) -> None:
    assert fit(tmp_path / "plain", 4, "callbacks.checkpoint.every_n_epochs=3") == 0
    assert iterations_in(tmp_path / "plain" / "checkpoints") == [3, 4]
    settings = ("callbacks.checkpoint.every_n_epochs=9", "trainer.check_val_every_n_epoch=2")
    assert fit(tmp_path / "best", 5, *settings, SCORED, BEST) == 0
    assert iterations_in(tmp_path / "best" / "checkpoints") == [2, 5]


def test_every_checkpoint_may_be_kept(tmp_path: Path) -> None:
    assert fit(tmp_path, 3, "callbacks.checkpoint.save_top_k=-1") == 0
    assert iterations_in(tmp_path / "checkpoints") == [1, 2, 3]


def test_a_score_that_no_evaluation_has_is_refused_when_the_first_one_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = "callbacks.checkpoint.monitor=validation/succes_micro"
    assert fit(tmp_path, 1, monitor, "trainer.num_sanity_val_steps=-1") == 2
    assert "Did you mean validation/success_micro?" in complaint(capsys)
    assert not list(tmp_path.rglob("train-*.parquet"))
    assert fit(tmp_path / "b", 1, monitor, "trainer.limit_val_batches=0") == 2
    assert "trainer.limit_val_batches=0 leaves evaluations out" in complaint(capsys)


def test_two_callbacks_that_would_remove_each_others_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = (
        "callbacks.other.class_path=opid_lightning.callbacks.IterationCheckpoint",
        "callbacks.other.init_args.monitor=train/success_micro",
    )
    assert fit(tmp_path / "a", 1, *other) == 2
    assert "give one of them a dirpath of its own" in complaint(capsys)
    apart = f"callbacks.other.init_args.dirpath={tmp_path / 'apart'}"
    assert fit(tmp_path / "b", 1, *other, apart) == 0
    assert iterations_in(tmp_path / "apart") == iterations_in(tmp_path / "b" / "checkpoints") == [1]
    assert checkpoint_in(tmp_path / "apart")


def test_two_callbacks_that_a_checkpoint_cannot_tell_apart_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = "callbacks.twin.class_path=opid_lightning.callbacks.IterationCheckpoint"
    assert fit(tmp_path, 1, twin, f"callbacks.twin.init_args.dirpath={tmp_path / 'b'}") == 2
    assert "callbacks.checkpoint and callbacks.twin are both IterationCheckpoint" in complaint(
        capsys
    )


def test_no_interval_is_refused() -> None:
    with pytest.raises(ValueError, match=r"every_n_epochs is 0; expected at least 1"):
        IterationCheckpoint(every_n_epochs=0)
