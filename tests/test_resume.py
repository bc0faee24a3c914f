"""A run that is killed resumes as if it had not been."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.kill_comparison import differences

SETTINGS = (
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "trainer.check_val_every_n_epoch=2",
    "data.tasks_per_iteration=3",
    "rollout.group_size=2",
    "batching.mini_batch_rows=16",
    "evaluation.num_tasks=4",
    "~callbacks.progress_bar",
    "trainer.enable_progress_bar=false",
)
TWO_RANKS = ("strategy=ddp", "trainer.devices=2", "trainer.max_epochs=2")


def fit(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opid_lightning", "fit", "conf=keydoor", *SETTINGS]
    settings = [f"trainer.default_root_dir={folder}", "ckpt_path=last", *overrides]
    return subprocess.run([*command, *settings], capture_output=True, text=True, check=False)


def finished(folder: Path, *overrides: str) -> str:
    run = fit(folder, *overrides)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout + run.stderr


def killed(folder: Path, by: str, iteration: int, *overrides: str) -> None:
    kind = "callbacks.killed" if by == "KilledBeforeUpdate" else "trainer.plugins"
    place = f"{kind}={{class_path: tests.killed_runs.{by}, init_args: {{iteration: {iteration}}}}}"
    run = fit(folder, place, *overrides)
    assert run.returncode == -signal.SIGKILL, run.stderr[-3000:]


def test_a_run_killed_at_any_moment_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    straight, folder = tmp_path / "straight", tmp_path / "killed"
    finished(straight)

    killed(folder, "KilledBeforeUpdate", 1)
    killed(folder, "KilledWriting", 2)
    checkpoints = folder / "checkpoints"
    assert [path.name for path in checkpoints.glob(".draft-*")] == [".draft-epoch=1-step=12.ckpt"]
    killed(folder, "KilledBeforeRenaming", 2)
    assert not list(checkpoints.glob(".draft-*"))
    assert (checkpoints / "last.ckpt").resolve().name.startswith("epoch=0-"), "not the new one"
    killed(folder, "KilledBeforeRemoving", 3)
    assert len(list(checkpoints.iterdir())) == 4, "three, and last.ckpt"

    assert "after iteration 3." in finished(folder, "trainer.max_epochs=4")
    finished(straight, "trainer.max_epochs=4")
    assert differences(straight, folder) == []
    names = sorted(path.name.split("-")[0] for path in checkpoints.iterdir())
    assert names == ["epoch=2", "epoch=3", "last.ckpt"]


def test_two_ranks_go_on_exactly_and_one_goes_on_to_rounding(tmp_path: Path) -> None:
    straight, pair, alone = (tmp_path / name for name in ("straight", "pair", "alone"))
    finished(straight, *TWO_RANKS)
    killed(pair, "KilledBeforeUpdate", 2, *TWO_RANKS)
    shutil.copytree(pair, alone, symlinks=True)

    finished(pair, *TWO_RANKS)
    assert differences(straight, pair) == []
    finished(alone, "trainer.max_epochs=2")
    expected, weights = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (straight, alone)
    )
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=2e-6)


def test_a_run_that_was_killed_when_it_was_done_draws_its_curve_and_trains_no_more(
    tmp_path: Path,
) -> None:
    one = "trainer.max_epochs=1"
    finished(tmp_path, one)
    before = (tmp_path / "metrics.csv").read_bytes(), (tmp_path / "learning_curve.csv").read_bytes()
    (tmp_path / "learning_curve.png").unlink()
    assert "after iteration 1." in finished(tmp_path, one)
    assert (tmp_path / "learning_curve.png").is_file()
    after = (tmp_path / "metrics.csv").read_bytes(), (tmp_path / "learning_curve.csv").read_bytes()
    assert after == before
    assert [path.name for path in (tmp_path / "trajectories").glob("train*")] == [
        "train-000000.parquet"
    ]
