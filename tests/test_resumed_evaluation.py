"""A resumed run with another evaluation says so, and does not compare scores."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from opid_lightning.training.checkpoints.evaluation_record import differing, what_changed
from tests.resumed_runs import fit, iterations_in, resumed

EVERY = ("trainer.check_val_every_n_epoch=1", "callbacks.checkpoint.monitor=validation/games")


def curve(run: Path) -> list[tuple[str, str, bool]]:
    """Iteration, split, and whether there is a gain over the first evaluation."""
    with (run / "learning_curve.csv").open(newline="") as file:
        return [
            (row["iteration"], row["split"], bool(row["gain_value"]))
            for row in csv.DictReader(file)
            if row["split"] != "rollouts"
        ]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if "The evaluation differs" in line]


def test_other_tasks_begin_a_curve_of_their_own_and_an_own_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fewer = "evaluation.num_tasks=1"
    with caplog.at_level("INFO"):
        assert fit(tmp_path, 2, *EVERY) == 0
        assert resumed(tmp_path, 3, *EVERY) == 0
        assert said(caplog) == []
        assert resumed(tmp_path, 5, *EVERY, fewer) == 0
        (line,) = said(caplog)
        assert "evaluation.num_tasks is 1 (was 2), tasks of valid_seen is 1, " in line
        assert resumed(tmp_path, 6, *EVERY, fewer) == 0
        assert said(caplog) == [line], "once"
    assert curve(tmp_path) == [
        ("1", "valid_seen", False),
        ("2", "valid_seen", True),
        ("3", "valid_seen", True),
        ("4", "valid_seen #2", False),
        ("5", "valid_seen #2", True),
        ("6", "valid_seen #2", True),
    ]
    # The best of the first evaluation stays; that of the second is 4, of fewer games.
    assert iterations_in(tmp_path / "checkpoints") == [1, 4, 5, 6]


@pytest.mark.parametrize(
    "changed", ["evaluation.temperature=0.9", "env.max_steps=9", "rollout.max_response_tokens=3"]
)
def test_whatever_scores_depend_on_is_named(
    tmp_path: Path, changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert fit(tmp_path, 1, "env.max_steps=10") == 0
    with caplog.at_level("INFO"):
        assert resumed(tmp_path, 1, "env.max_steps=10", changed) == 0
    (line,) = said(caplog)
    name, value = changed.split("=")
    assert f"{name} is {value} (was " in line


def test_a_run_without_evaluations_compares_nothing_and_keeps_what_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert fit(tmp_path, 1) == 0
        assert resumed(tmp_path, 2, "trainer.limit_val_batches=0") == 0
        assert resumed(tmp_path, 3) == 0
        assert said(caplog) == []
        assert resumed(tmp_path, 3, "evaluation.seed=5") == 0
        assert len(said(caplog)) == 1


def test_what_was_never_evaluated_does_not_differ() -> None:
    assert differing({}, {"evaluation.seed": "1"}) == {}
    assert what_changed({}) == ""
