"""What `validate`, `test` and `predict` print."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.verbs.results import attempts_in, results_table
from opid_lightning.cli.verbs.table import main
from opid_lightning.protocols import Split
from opid_lightning.training.evaluation import Evaluation, EvaluationSet, Played, result_of
from opid_lightning.training.success import wilson
from opid_lightning.types import Task, Trajectory
from tests.builders import step_of, trajectory_of


def played(split: Split, kind: str, *won: bool) -> Played:
    return Played(
        split,
        tuple(
            trajectory_of(step_of(), step_of(is_valid=w), won=w, task_id=f"{kind}{i}", kind=kind)
            for i, w in enumerate(won)
        ),
    )


def set_of(*parts: Played, num_available: int) -> EvaluationSet:
    tasks = tuple(t.task for part in parts for t in part.trajectories)
    return EvaluationSet(parts[0].split, tasks, num_available)


SEEN = [
    played("valid_seen", "heat", True, False, False, False),
    played("valid_seen", "cool", True),
]


def test_a_whole_split_by_hand() -> None:
    table = results_table(result_of(SEEN), [set_of(*SEEN, num_available=5)], Evaluation())
    heading, *rows, blank, note = table.splitlines()
    assert heading == "valid_seen: all 5 games, once, at temperature 0.4, seed 0"
    low, high = (f"{100 * value:.1f}" for value in (wilson(0.4, 5).low, wilson(0.4, 5).high))
    assert rows[0].split() == [
        "won,",
        "micro",
        "average",
        "2/5",
        "40.0%",
        f"({low}",
        "to",
        f"{high})",
    ]
    assert rows[1].split()[:6] == ["won,", "macro", "average", "2", "types", "62.5%"]
    assert [row.split()[:3] for row in rows[2:4]] == [
        ["cool", "1/1", "100.0%"],
        ["heat", "1/4", "25.0%"],
    ]
    assert rows[4].split() == ["invalid", "actions", "of", "10", "30.0%"]
    assert rows[5].split() == ["steps", "of", "a", "won", "game", "mean", "2.0"]
    assert not blank and "Wilson" in note


def test_a_smaller_set_and_greedy_play_say_so() -> None:
    settings = Evaluation(num_tasks=5, temperature=0.0)
    table = results_table(result_of(SEEN), [set_of(*SEEN, num_available=140)], settings)
    assert table.startswith("valid_seen: 5 of its 140 games, once, greedily\n")


def test_several_attempts_say_what_the_unit_is() -> None:
    task = Task("a", "heat")
    part = Played("valid_seen", tuple(Trajectory(task, i, "", (), i == 0) for i in range(4)))
    sets = [EvaluationSet("valid_seen", (task,), 1)]
    table = results_table(result_of([part]), sets, Evaluation(attempts=4))
    assert "all 1 games, 4 times each" in table
    assert "1/4" in table
    assert "games, not attempts, as the unit" in table


def test_two_splits_are_shown_apart_and_together() -> None:
    unseen = played("valid_unseen", "heat", False, False)
    sets = [set_of(*SEEN, num_available=5), set_of(unseen, num_available=2)]
    table = results_table(result_of([*SEEN, unseen]), sets, Evaluation())
    assert [line.split()[3] for line in table.splitlines() if "micro" in line] == [
        "2/5",
        "0/2",
        "2/7",
    ]
    assert "both splits together" in table


def test_predict_says_what_it_played_and_where_that_is(tmp_path: Path) -> None:
    sets = [EvaluationSet("valid_seen", (Task("a", "heat"), Task("b", "heat")), 5)]
    said = "Played 2 games of valid_seen"
    assert attempts_in(str(tmp_path), sets).startswith(f"{said}; without callbacks.traj")
    (tmp_path / "trajectories").mkdir()
    (tmp_path / "trajectories" / "predict-000003-000.parquet").touch()
    expected = f"{said}, a row for each step: {tmp_path}/trajectories/predict-*.parquet"
    assert attempts_in(str(tmp_path), sets) == expected


def test_predict_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ["conf=keydoor", "evaluation.num_tasks=2", "trainer.default_root_dir=run"]
    assert main(["predict", *typed, "~callbacks.progress_bar"]) == 0
    assert "Played 2 games of valid_seen, a row for each step: " in capsys.readouterr().out
    assert list(tmp_path.glob("run/**/trajectories/predict-*.parquet"))
