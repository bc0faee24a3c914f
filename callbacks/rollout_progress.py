"""RolloutProgressBar: what an iteration is doing now, and a line for each that is over."""

from __future__ import annotations

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.training.success import success_rates
from opid_lightning.types import Experience


class RolloutProgressBar(ProgressBar, RolloutCallback):
    """Shows rollout, hindsight, scoring and update as bars, on a terminal or in a notebook.

    Elsewhere, as in a batch job's log, only the line of each iteration is printed.

    Args:
        console: where it is shown; null is standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console()
        self._enabled = True
        self._bars = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}  # an evaluation goes on inside an update
        self._began: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._summary = ""
        self._evaluation = ""  # since the last line

    def disable(self) -> None:
        """Stops printing; Lightning calls it on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Prints again after `disable`."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints above the bars without breaking them; nothing while disabled."""
        if self._enabled:
            self.console.print(*args, highlight=False, soft_wrap=True)

    def on_stage_start(self, trainer: lightning.Trainer, stage: str, total: int) -> None:
        """Opens a bar of `total` parts for the stage."""
        self._start(stage, total)

    def on_stage_progress(self, trainer: lightning.Trainer, stage: str, done: int) -> None:
        """Moves the stage's bar to `done` parts."""
        self._show(stage, done)

    def on_stage_end(self, trainer: lightning.Trainer, stage: str, num_tokens: int) -> None:
        """Closes the stage's bar and keeps its seconds for the iteration's line."""
        self._stop(stage)

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """Keeps success, number of steps and lost sessions for the iteration's line."""
        success = success_rates(experience.trajectories)["success_micro"]
        self._summary = (
            f"success {success:.1%} of {len(experience.trajectories)}, "
            f"{len(experience.samples)} steps"
        )
        if experience.sessions_lost:
            self._summary += f", {sum(experience.sessions_lost.values())} sessions lost"

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """In a run; the verb that only evaluates prints a table."""
        if trainer.state.fn == "fit":
            self._evaluation = ", ".join(
                f"{split} {success.overall.rate}"
                for split, success in pl_module.evaluation_result.splits.items()
            )

    def on_sanity_check_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The evaluation before the first update is no part of an iteration."""
        seconds = self._seconds.pop("evaluation")
        self.print(f"start: {self._evaluation} (evaluation {seconds:.1f} s)")
        self._evaluation = ""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Opens the bar of the update, one part per micro-batch."""
        self._start("update", int(trainer.num_training_batches))

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar of the update by one micro-batch."""
        self._show("update", batch_idx + 1)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Prints the iteration's line: success, steps, evaluation, and seconds of each stage."""
        self._stop("update")
        # Lightning evaluates before it ends the epoch.
        self._seconds["update"] -= self._seconds.get("evaluation", 0.0)
        last = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        seconds = ", ".join(f"{stage} {took:.1f} s" for stage, took in self._seconds.items())
        summary = ", ".join(part for part in (self._summary, self._evaluation) if part)
        self.print(f"iteration {trainer.current_epoch + 1}{last}: {summary} ({seconds})")
        self._seconds.clear()
        self._evaluation = ""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Closes the bars, so that the traceback stays readable."""
        if self._tasks:
            self._bars.stop()

    def _start(self, stage: str, total: int) -> None:
        self._began[stage] = time.perf_counter()
        if self._enabled and self.console.is_terminal:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
            self._bars.start()

    def _show(self, stage: str, done: int) -> None:
        if stage in self._tasks:
            self._bars.update(self._tasks[stage], completed=done)

    def _stop(self, stage: str) -> None:
        self._seconds[stage] = time.perf_counter() - self._began[stage]
        if stage in self._tasks:
            self._bars.remove_task(self._tasks.pop(stage))
            if not self._tasks:
                self._bars.stop()
