"""A run ends after a whole iteration, which is evaluated, and is resumed from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest

from benchmarks.kill_comparison import differences
from opid_lightning.cli.verbs.table import main
from opid_lightning.training.hooks import RolloutCallback
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


def test_a_limit_below_what_is_done_is_refused_and_one_that_is_reached_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    flat = "model.decay=none"
    assert fit(tmp_path, 2, flat) == 0
    first, last = (int(step or 0) + 1 for step in column(tmp_path, "step"))
    assert resumed(tmp_path, -1, flat, f"trainer.max_steps={first}") == 2
    said = complaint(capsys)
    assert f"trainer.max_steps is {first}, but the checkpoint is of {last} optimizer" in said
    assert f"Set on the command line: trainer.max_steps={first}" in said
    with caplog.at_level("INFO"):
        assert resumed(tmp_path, 2, flat) == 0
        assert resumed(tmp_path, -1, flat, f"trainer.max_steps={last - 1}") == 0
    assert "Nothing left to do: the checkpoint is of iteration 2, and trainer.max_epochs is 2" in (
        caplog.text
    )
    assert f"is of optimizer step {last}, and trainer.max_steps is {last - 1}" in caplog.text


@pytest.mark.parametrize("least", ["trainer.min_epochs=5", "trainer.min_epochs=2"])
def test_a_least_number_above_the_most_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], least: str
) -> None:
    assert fit(tmp_path, 1, least) == 2
    said = complaint(capsys)
    assert f"{least.replace('=', ' is ')}, but the run ends at trainer.max_epochs=1" in said
    assert f"Set on the command line: {least}" in said


def test_least_steps_that_are_not_reached_are_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"trainer\.min_steps=1000 is not reached: the run ends"):
        assert fit(tmp_path, 1, "trainer.min_steps=1000") == 0


def test_a_resumed_run_names_every_setting_that_differs_from_its_config(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = f"--config={tmp_path / 'config.yaml'}"
    assert fit(tmp_path, 1) == 0
    with caplog.at_level("INFO"):
        assert resumed(tmp_path, 1) == 0
        assert "Settings that differ" not in caplog.text
        typed = ("optimizer.lr=0.5", "rollout.group_size=3", "~callbacks.stage_timer")
        assert resumed(tmp_path, 2, *typed) == 0
        (line,) = [r.getMessage() for r in caplog.records if "Settings that" in r.getMessage()]
        caplog.clear()
        again = (config, f"trainer.default_root_dir={tmp_path}", "trainer.max_epochs=3")
        assert main(["fit", *again, "ckpt_path=last"]) == 0
        assert "rollout.group_size" not in caplog.text, "--config repeats the first settings"
    assert f"{tmp_path / 'config.yaml'}: " in line
    for said in (
        "optimizer.lr is 0.5 (was 0.003)",
        "rollout.group_size is 3 (was 2)",
        "trainer.max_epochs is 2 (was 1)",
        "callbacks.stage_timer.class_path is None (was",
    ):
        assert said in line
    assert "ckpt_path" not in line
