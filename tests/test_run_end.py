"""A run ends after a whole iteration, which is evaluated, and is resumed from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest

from benchmarks.kill_comparison import differences
from opid_lightning.hooks import RolloutCallback
from tests.resumed_runs import column, complaint, finished, fit, resumed

SCORE = "validation/success_micro"
HERE = "tests.test_run_end"


class StopsAmid(lightning.Callback):
    """Asks the trainer to stop after the first batch of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch + 1 == self.iteration and batch_idx == 0:
            assert not trainer.is_last_batch
            trainer.should_stop = True


class TimeIsOver(RolloutCallback):
    """Has the Timer of trainer.max_time think so when the rollouts of an iteration are played."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_experience_end(self, trainer: lightning.Trainer, experience: Any) -> None:
        if experience.iteration + 1 == self.iteration:
            (timer,) = (c for c in trainer.callbacks if type(c).__name__ == "Timer")  # type: ignore[attr-defined]
            timer._offset = 1e5


def evaluated(run: Path) -> list[bool]:
    return [score is not None for score in column(run, SCORE)]


def test_a_run_that_ends_by_steps_ends_with_the_iteration_and_is_resumed_exactly(
    tmp_path: Path,
) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    flat = ("model.decay=none", "trainer.check_val_every_n_epoch=2")
    assert fit(straight, 3, *flat) == 0
    steps = [int(step or 0) + 1 for step in column(straight, "step")]
    limit = f"trainer.max_steps={steps[0] + 1}"  # amid the second iteration
    assert fit(stopped, -1, *flat, limit) == 0
    assert finished(stopped / "checkpoints") == 2
    assert column(stopped, "step") == column(straight, "step")[:2]
    before = (stopped / "metrics.csv").read_bytes()
    assert resumed(stopped, -1, *flat, limit) == 0, "nothing is left to do"
    assert (stopped / "metrics.csv").read_bytes() == before
    assert resumed(stopped, 9, *flat, f"trainer.max_steps={steps[2]}") == 0
    assert differences(straight, stopped) == []


def callback(kind: type, iteration: int) -> str:
    return (
        f"callbacks.x={{class_path: {HERE}.{kind.__name__}, init_args: {{iteration: {iteration}}}}}"
    )


@pytest.mark.parametrize(
    "ending",
    [
        ("trainer.max_epochs=2",),
        ("trainer.max_steps=5",),
        ("trainer.max_time=00:01:00:00", callback(TimeIsOver, 2)),
        (callback(StopsAmid, 2),),
        (callback(StopsAmid, 1), "trainer.min_epochs=2"),
    ],
)
def test_the_last_iteration_is_whole_and_evaluated_however_the_run_ends(
    tmp_path: Path, ending: tuple[str, ...]
) -> None:
    cut = ("batching.micro_batch_rows=4", "model.decay=none", "rollout.max_response_tokens=4")
    assert fit(tmp_path, 9, *cut, *ending) == 0
    assert finished(tmp_path / "checkpoints") == 2
    assert evaluated(tmp_path) == [False, True]
    assert resumed(tmp_path, 3, *cut, "trainer.max_time=07:00:00:00") == 0
    assert evaluated(tmp_path) == [False, True, True]


def test_no_evaluation_at_all_stays_none(tmp_path: Path) -> None:
    assert fit(tmp_path, 1, "trainer.limit_val_batches=0") == 0
    assert evaluated(tmp_path) == [False]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("trainer.max_epochs=0", "trainer.max_epochs is 0"),
        ("trainer.max_steps=0", "trainer.max_steps is 0"),
        ("trainer.max_time=00:00:00:00", "trainer.max_time is 00:00:00:00"),
    ],
)
def test_a_run_of_nothing_is_refused(
    tmp_path: Path, typed: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, 1, "model.decay=none", typed) == 2
    assert expected in complaint(capsys)


def test_fewer_iterations_than_are_done_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, 2) == 0
    assert resumed(tmp_path, 1) == 2
    assert "trainer.max_epochs is 1, but the checkpoint is of iteration 2" in complaint(capsys)
    assert resumed(tmp_path, 2) == 0
