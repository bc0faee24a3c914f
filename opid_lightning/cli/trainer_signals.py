"""Lightning's own answers to signals, beside ours."""

from __future__ import annotations

import threading
from types import FrameType
from typing import Any

import lightning
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from opid_lightning.cli.interruption import INTERRUPTION


class TrainerSignals(_SignalConnector):
    """Lightning registers these when training begins, and calls our own handler after them."""

    def _sigterm_notifier_fn(self, signum: Any, frame: FrameType | None) -> None:
        """Lightning's own broadcasts it here, in the midst of whatever the ranks exchange."""
        self.received_sigterm = True

    def _sigterm_handler_fn(self, signum: Any, frame: FrameType | None) -> None:
        """Under SLURM, Lightning's own says that SIGTERM is bypassed, which it is not."""

    def _slurm_sigusr_handler_fn(self, signum: Any, frame: FrameType | None) -> None:
        """SLURM ends the job by SIGTERM once this has queued it again."""
        with INTERRUPTION.deferred():
            super()._slurm_sigusr_handler_fn(signum, frame)  # type: ignore[arg-type]


def answer_signals(trainer: lightning.Trainer) -> None:
    """Has the trainer, and the ranks that it starts, end with ours."""

    def forward(number: int) -> None:
        for thread in threading.enumerate():
            if isinstance(thread, _ChildProcessObserver):
                thread._child_processes = []  # it would kill this rank for those that end now
        if launcher := trainer.strategy.launcher:
            launcher.kill(number)

    trainer._signal_connector = TrainerSignals(trainer)
    INTERRUPTION.forward = forward
