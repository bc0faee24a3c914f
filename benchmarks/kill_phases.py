"""PhaseLog: what a run is at, told to a process that is about to kill it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lightning

from opid_lightning.training.hooks import RolloutCallback


class PhaseLog(RolloutCallback):
    """Appends a line `pid seconds phase` to phases-RANK.log in the run's folder at each change.

    A line is one unbuffered write, so that none is lost with the process.
    """

    def __init__(self) -> None:
        self._file = -1

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        path = Path(trainer.default_root_dir) / f"phases-{trainer.global_rank}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._enter("start")

    def on_stage_start(self, trainer: lightning.Trainer, stage: str, total: int) -> None:
        self._enter(stage)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._enter("update")

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Until the next rollout: written, renamed, linked, the old one removed, all logged."""
        self._enter("checkpoint")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._enter("end")

    def _enter(self, phase: str) -> None:
        os.write(self._file, f"{os.getpid()} {time.monotonic():.4f} {phase}\n".encode())
