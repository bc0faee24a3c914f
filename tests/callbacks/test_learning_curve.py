"""The curve of real runs on keydoor, and its tables by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from opid_lightning.callbacks import LearningCurve, RolloutStatistics
from opid_lightning.callbacks.curve import ROLLOUTS, Point, point_of, tables, write_points
from opid_lightning.training.evaluation import Evaluation
from opid_lightning.training.success import success_of, wilson
from tests.builders import trajectory_of
from tests.keydoor_run import Run, fit

CURVE = ("learning_curve.png", "learning_curve.csv")


def evaluated(folder: Path, curve: LearningCurve, **settings: Any) -> Run:
    return fit(
        folder,
        [curve, RolloutStatistics()],
        limit_val_batches=1.0,
        evaluate_at_start=True,
        **{"evaluate_every": 2, **settings},
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "learning_curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_table_a_picture_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = LearningCurve()
    run = evaluated(tmp_path, curve, iterations=3)
    assert [(row["iteration"], row["split"]) for row in rows(tmp_path)] == [
        ("0", "valid_seen"),
        ("1", "rollouts"),
        ("2", "rollouts"),
        ("2", "valid_seen"),
        ("3", "rollouts"),
        ("3", "valid_seen"),
    ]
    second = next(p for p in curve.points if (p.iteration, p.split) == (2, "valid_seen"))
    assert run.metrics["validation/success_micro"] == pytest.approx(second.success_micro)
    assert run.metrics["validation/success_macro_low"] == pytest.approx(second.success_macro_low)
    assert (tmp_path / CURVE[0]).read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "valid_seen: 8 games, 8 attempts" in said
    assert [line.split()[0] for line in said.splitlines()[3:6]] == ["start", "2", "3"]


def test_a_resumed_run_has_the_curve_of_the_uninterrupted_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = LearningCurve()
    both = Evaluation(num_tasks=4, validation_split="both")
    evaluated(tmp_path / "straight", straight, iterations=4, evaluation=both)
    evaluated(tmp_path / "half", LearningCurve(), iterations=2, evaluation=both)
    resumed = LearningCurve()
    evaluated(
        tmp_path / "half",
        resumed,
        iterations=4,
        evaluation=both,
        resume_from=tmp_path / "half" / "checkpoints" / "last.ckpt",
    )
    assert resumed.points == straight.points
    assert rows(tmp_path / "half") == rows(tmp_path / "straight")
    metrics = [(tmp_path / name / "metrics.csv").read_text() for name in ("half", "straight")]
    assert [len(text.splitlines()) for text in metrics] == [1 + 1 + 4] * 2


def test_a_run_that_is_never_evaluated_shows_its_rollouts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, [LearningCurve()], iterations=1)
    assert "nothing was evaluated" in capsys.readouterr().out
    assert [row["split"] for row in rows(tmp_path)] == ["rollouts"]
    assert (tmp_path / CURVE[0]).is_file()


def test_an_evaluation_before_the_first_update_is_logged_as_such(tmp_path: Path) -> None:
    evaluated(tmp_path, LearningCurve(), iterations=2)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        start, first, second = csv.DictReader(file)
    assert (start["step"], start["epoch"]) == ("-1", "-1")
    assert start["validation/success_micro"]
    assert not first["validation/success_micro"]
    assert second["validation/success_micro"]


# ------------------------------------------------------------------ by hand


def point(iteration: int, split: str, won: int, played: int) -> Point:
    groups = [[trajectory_of(won=i < won, task_id=str(i))] for i in range(played)]
    return point_of(iteration, split, success_of(groups))


POINTS = [
    point(0, "valid_unseen", 2, 10),
    point(1, ROLLOUTS, 1, 4),
    point(2, ROLLOUTS, 3, 4),
    point(2, "valid_unseen", 5, 10),
    point(3, ROLLOUTS, 4, 4),
]


def test_the_table_pools_rollouts_between_evaluations_and_counts_the_gain() -> None:
    (table,) = tables(POINTS)
    start, second, rest = table.splitlines()[2:]
    low, high = 100 * wilson(0.2, 10).low, 100 * wilson(0.2, 10).high
    assert start.split() == ["start", "20.0%", f"({low:.1f}", "to", f"{high:.1f})", "#" * 4]
    assert second.split()[:3] == ["2", "50.0%", "50.0%"]  # (1 + 3) of (4 + 4), 5 of 10
    assert second.split()[6] == "+30.0"
    assert second.endswith("#" * 10)
    assert rest.split() == ["3", "100.0%", "not", "evaluated"]


def test_a_curve_without_a_start_counts_from_its_first_evaluation() -> None:
    (table,) = tables([point(4, "valid_seen", 2, 10), point(8, "valid_seen", 1, 10)])
    assert "points over iteration 4" in table
    assert "-10.0" in table.splitlines()[-1]


def test_there_is_no_gain_over_a_set_of_another_size(tmp_path: Path) -> None:
    """As after a resume with another evaluation.num_tasks."""
    points = [point(0, "valid_seen", 2, 10), point(1, "valid_seen", 4, 20)]
    write_points(points, tmp_path / "learning_curve.csv")
    assert [row["gain_value"] for row in rows(tmp_path)] == ["", ""]


def test_a_long_run_of_rollouts_is_summed_up() -> None:
    (table,) = tables([point(i + 1, ROLLOUTS, 1, 2) for i in range(150)])
    assert len(table.splitlines()) == 2 + 19
    assert table.splitlines()[2].split() == ["1", "to", "8", "50.0%"]
