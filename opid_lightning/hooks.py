"""RolloutCallback: a Lightning Callback that also hears what happens inside an iteration."""

from __future__ import annotations

from collections.abc import Sequence

import lightning

from opid_lightning.types import Experience, Hindsight, Trajectory


class RolloutCallback(lightning.Callback):
    """Override what you need. All hooks run in the main process and thread.

    Order in an iteration: `on_stage_start("rollout")`, `on_trajectory_end` for each trajectory
    while others still play, `on_stage_end("rollout")`, `on_rollout_end`, the stages "hindsight"
    and "scoring", `on_experience_end`; then Lightning's own train hooks. `self.log_dict` works
    from `on_train_epoch_end`, not from these hooks: keep the figures until then.
    """

    def on_stage_start(self, trainer: lightning.Trainer, stage: str, total: int) -> None:
        """A stage begins that has `total` parts: trajectories, or rows."""

    def on_stage_progress(self, trainer: lightning.Trainer, stage: str, done: int) -> None:
        """`done` of its parts are finished."""

    def on_stage_end(self, trainer: lightning.Trainer, stage: str, num_tokens: int) -> None:
        """A stage ended, having sampled or scored this many tokens."""

    def on_trajectory_end(self, trainer: lightning.Trainer, trajectory: Trajectory) -> None:
        """One attempt is over; others may still play."""

    def on_rollout_end(
        self, trainer: lightning.Trainer, trajectories: Sequence[Trajectory]
    ) -> Hindsight | None:
        """All attempts are over. At most one callback answers with the hindsight on them."""

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """The iteration's samples are finished; training on them is next."""
