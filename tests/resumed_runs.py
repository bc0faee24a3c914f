"""Small runs by the command line, in this process, and what they left."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from opid_lightning.cli.verbs.table import main

SETTINGS = (
    "conf=keydoor",
    "trainer.accelerator=cpu",
    "trainer.num_sanity_val_steps=0",
    "trainer.check_val_every_n_epoch=50",
    "data.tasks_per_iteration=2",
    "rollout.group_size=2",
    "batching.mini_batch_rows=16",
    "evaluation.num_tasks=2",
    "~callbacks.progress_bar",
    "~callbacks.hf_export",
    "trainer.enable_progress_bar=false",
)


def fit(folder: Path, iterations: int, *more: str) -> int:
    typed = f"trainer.default_root_dir={folder}", f"trainer.max_epochs={iterations}"
    return main(["fit", *SETTINGS, *typed, *more])


def resumed(folder: Path, iterations: int, *more: str) -> int:
    return fit(folder, iterations, "ckpt_path=last", *more)


def checkpoint_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return found


def iterations_in(folder: Path) -> list[int]:
    """Of which iterations, counted from 1, there are checkpoints."""
    names = (path.name for path in folder.glob("epoch=*.ckpt"))
    return sorted(int(name.removeprefix("epoch=").split("-")[0]) + 1 for name in names)


def finished(folder: Path) -> int:
    progress = checkpoint_in(folder)["loops"]["fit_loop"]["epoch_progress"]["current"]
    number: int = progress["processed"]
    return number


def column(run: Path, name: str) -> list[float | None]:
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row[name]) if row.get(name) else None for row in csv.DictReader(file)]


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err
