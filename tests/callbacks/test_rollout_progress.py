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
