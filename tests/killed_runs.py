"""Runs that kill themselves at a given moment, as a scheduler or a power cut would."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning

from opid_lightning.files.atomic import atomic_write
from opid_lightning.training.checkpoints.files import CheckpointFiles, progress
from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.types import Experience


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KilledBeforeUpdate(RolloutCallback):
    """Dies when the rollouts of an iteration, counted from 1, are played and scored."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        if experience.iteration + 1 == self.iteration:
            die()


class KilledWriting(CheckpointFiles):
    """Dies when half of an iteration's checkpoint is on disk."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        super().save_checkpoint(checkpoint, path, storage_options)
        if progress(checkpoint)["processed"] == self.iteration:
            half = Path(path).read_bytes()[: Path(path).stat().st_size // 2]
            Path(path).unlink()
            with atomic_write(Path(path), "wb") as file:
                file.write(half)
                file.flush()
                die()


class KilledBeforeRenaming(CheckpointFiles):
    """Dies when an iteration's checkpoint is written and not called `last.ckpt` yet.

    Loggers do not have the iteration's metrics then.
    """

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        super().save_checkpoint(checkpoint, path, storage_options)
        if progress(checkpoint)["processed"] == self.iteration:
            die()


class KilledBeforeRemoving(CheckpointFiles):
    """Dies when an iteration's checkpoint is called `last.ckpt`, and an older one is too many."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration
        self.num_written = 0

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        super().save_checkpoint(checkpoint, path, storage_options)
        self.num_written = progress(checkpoint)["processed"]

    def remove_checkpoint(self, path: str | Path) -> None:
        if self.num_written == self.iteration:
            die()
        super().remove_checkpoint(path)
