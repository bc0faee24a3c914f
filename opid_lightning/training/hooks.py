"""RolloutCallback: a Lightning Callback that also hears what happens inside an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import lightning
from lightning.pytorch.loops.progress import _ProcessedTracker

from opid_lightning.protocols import PolicyClient
from opid_lightning.ranks import Ranks
from opid_lightning.types import Experience, Trajectory


def iteration_number(trainer: lightning.Trainer) -> int:
    """The 0-based iteration that plays or trains now.

    Not `trainer.current_epoch`: when a run resumes, that is one behind until training starts,
    which is after the rollout.
    """
    progress = cast(_ProcessedTracker, trainer.fit_loop.epoch_progress.current)
    return progress.processed


def ranks_of(trainer: lightning.Trainer) -> Ranks:
    """This process among those of the run, for exchanges that need no collective of torch."""
    return Ranks(trainer.global_rank, trainer.world_size)


class RolloutCallback(lightning.Callback):
    """Override what you need. All hooks run in the main process and thread.

    Order in an iteration: `on_rollout_start`, `on_stage_start("rollout")`, `on_trajectory_end`
    for each trajectory while others still play, `on_stage_end("rollout")`, `on_rollout_end`, the
    stages "hindsight" and "scoring", `on_experience_end`; then Lightning's own train hooks. A
    callback that writes skills registers with `RolloutDataModule.register_hindsight`.
    `pl_module.log_dict` works from `on_train_epoch_end`, not from these hooks: keep the figures
    until then. An evaluation fires the stage hooks alone, as stage "evaluation".
    """

    def on_stage_start(self, trainer: lightning.Trainer, stage: str, total: int) -> None:
        """A stage begins that has `total` parts: trajectories, or rows."""

    def on_stage_progress(self, trainer: lightning.Trainer, stage: str, done: int) -> None:
        """`done` of its parts are finished."""

    def on_stage_end(self, trainer: lightning.Trainer, stage: str, num_tokens: int) -> None:
        """A stage ended, having sampled or scored this many tokens."""

    def on_rollout_start(self, trainer: lightning.Trainer, client: PolicyClient) -> None:
        """The policy is served; the client can be asked until the hindsight is there."""

    def on_trajectory_end(self, trainer: lightning.Trainer, trajectory: Trajectory) -> None:
        """One attempt is over; others may still play."""

    def on_rollout_end(
        self, trainer: lightning.Trainer, trajectories: Sequence[Trajectory]
    ) -> None:
        """All attempts of this rank are over; skills on them are collected next."""

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """The iteration's samples are finished; training on them is next."""


@dataclass(frozen=True)
class CallbackDispatcher:
    """Tells the trainer's callbacks how a stage goes."""

    trainer: lightning.Trainer

    @property
    def callbacks(self) -> list[RolloutCallback]:
        """Those that hear an iteration, in the trainer's order."""
        return [c for c in self.trainer.callbacks if isinstance(c, RolloutCallback)]  # type: ignore[attr-defined]

    def on_stage_start(self, stage: str, total: int) -> None:
        """Passes it on to every RolloutCallback."""
        for callback in self.callbacks:
            callback.on_stage_start(self.trainer, stage, total)

    def on_stage_progress(self, stage: str, done: int) -> None:
        """Passes it on to every RolloutCallback."""
        for callback in self.callbacks:
            callback.on_stage_progress(self.trainer, stage, done)

    def on_stage_end(self, stage: str, num_tokens: int) -> None:
        """Passes it on to every RolloutCallback."""
        for callback in self.callbacks:
            callback.on_stage_end(self.trainer, stage, num_tokens)


@dataclass(frozen=True)
class EvaluationDispatcher(CallbackDispatcher):
    """The observer of an evaluation, which is one stage without hindsight."""

    def on_stage_start(self, stage: str, total: int) -> None:
        """Passes it on as stage "evaluation", whichever it is."""
        super().on_stage_start("evaluation", total)

    def on_stage_progress(self, stage: str, done: int) -> None:
        """Passes it on as stage "evaluation", whichever it is."""
        super().on_stage_progress("evaluation", done)

    def on_stage_end(self, stage: str, num_tokens: int) -> None:
        """Passes it on as stage "evaluation", whichever it is."""
        super().on_stage_end("evaluation", num_tokens)

    def on_rollout_start(self, client: PolicyClient) -> None:
        """Nobody asks."""

    def on_trajectory_end(self, trajectory: Trajectory) -> None:
        """Not analysed."""

    def on_rollout_end(self, trajectories: Sequence[Trajectory]) -> None:
        """No analyst reads them."""


@dataclass(frozen=True)
class TrainingDispatcher(CallbackDispatcher):
    """The IterationObserver of an iteration, which tells them of every trajectory."""

    def on_rollout_start(self, client: PolicyClient) -> None:
        """Passes the client on to every RolloutCallback."""
        for callback in self.callbacks:
            callback.on_rollout_start(self.trainer, client)

    def on_trajectory_end(self, trajectory: Trajectory) -> None:
        """Passes the trajectory on to every RolloutCallback."""
        for callback in self.callbacks:
            callback.on_trajectory_end(self.trainer, trajectory)

    def on_rollout_end(self, trajectories: Sequence[Trajectory]) -> None:
        """Passes the trajectories on to every RolloutCallback."""
        for callback in self.callbacks:
            callback.on_rollout_end(self.trainer, trajectories)

    def on_experience_end(self, experience: Experience) -> None:
        """Passes the experience on to every RolloutCallback."""
        for callback in self.callbacks:
            callback.on_experience_end(self.trainer, experience)
