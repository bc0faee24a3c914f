from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from opid_lightning.callbacks import RolloutProgressBar
from tests.keydoor_run import fit


def watched(tmp_path: Path, is_terminal: bool) -> str:
    screen = io.StringIO()
    bar = RolloutProgressBar(Console(file=screen, force_terminal=is_terminal, width=100))
    fit(tmp_path, [bar], iterations=2, limit_val_batches=1.0)
    return screen.getvalue()


def test_a_terminal_shows_every_stage(tmp_path: Path) -> None:
    shown = watched(tmp_path, is_terminal=True)
    assert all(stage in shown for stage in ("rollout", "scoring", "update", "evaluation"))
    assert "/16" in shown  # trajectories of the rollout


def test_a_log_file_gets_one_line_an_iteration(tmp_path: Path) -> None:
    lines = watched(tmp_path, is_terminal=False).splitlines()
    assert [line.split(":")[0] for line in lines] == ["iteration 1/2", "iteration 2/2"]
    assert all("of 16" in line and "evaluation" in line for line in lines)


def test_the_evaluation_before_the_first_update_has_a_line_of_its_own(tmp_path: Path) -> None:
    screen = io.StringIO()
    bar = RolloutProgressBar(Console(file=screen, width=100))
    fit(tmp_path, [bar], iterations=2, limit_val_batches=1.0, evaluate_at_start=True)
    start, first, _ = screen.getvalue().splitlines()
    assert start.startswith("start: valid_seen ") and "evaluation" in start
    assert "valid_seen" in first and "(rollout" in first


def test_only_iterations_that_are_evaluated_say_so(tmp_path: Path) -> None:
    screen = io.StringIO()
    bar = RolloutProgressBar(Console(file=screen, width=100))
    fit(tmp_path, [bar], iterations=2, limit_val_batches=1.0, evaluate_every=2)
    first, second = screen.getvalue().splitlines()
    assert "valid_seen" not in first and "evaluation" not in first
    assert "valid_seen" in second
