"""When a run ends: after a whole iteration, which is evaluated."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import rank_zero_warn

from opid_lightning.training.hooks import iteration_number


class RunEnd:
    """Postpones what would end a run inside an iteration until the iteration is over.

    Lightning stops at the very batch at which `trainer.max_steps`, `trainer.max_time` or a
    callback says so. The rest of the iteration's experience would be lost, and with it the
    possibility to resume.
    """

    def __init__(self, trainer: lightning.Trainer) -> None:
        self.max_steps = trainer.max_steps
        self.evaluates_every = trainer.check_val_every_n_epoch
        self.is_asked = False  # by a callback
        # Lightning also resumes otherwise where this is set, as if inside an epoch.
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_batch_end(self, trainer: lightning.Trainer) -> None:
        """After the callbacks' own hooks; before an evaluation, where one is due."""
        self.is_asked |= trainer.should_stop
        trainer.should_stop = self.is_asked and trainer.is_last_batch
        if self.is_asked:
            quieten_timers(trainer)
        if trainer.is_last_batch:
            is_last = self.is_over(trainer, iteration_number(trainer) + 1)
            trainer.check_val_every_n_epoch = 1 if is_last else self.evaluates_every
            if is_last:
                warn_of_least_steps(trainer)
            self.limit_steps(trainer, trainer.global_step)

    def is_over(self, trainer: lightning.Trainer, iterations: int) -> bool:
        """Whether the run ends after so many iterations, the last of which is trained."""
        epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
        return (
            0 <= epochs <= iterations
            or self._are_taken(trainer.global_step)
            or (trainer.should_stop and self._may_stop(trainer, iterations))
        )

    def limit_steps(self, trainer: lightning.Trainer, taken: int) -> None:
        """Has Lightning see its limit again where that is reached, which ends the run."""
        if self._are_taken(taken):
            trainer.fit_loop.epoch_loop.max_steps = self.max_steps

    def give_back(self, trainer: lightning.Trainer) -> None:
        """Leaves the trainer as it was found."""
        trainer.fit_loop.epoch_loop.max_steps = self.max_steps
        trainer.check_val_every_n_epoch = self.evaluates_every

    def _are_taken(self, steps: int) -> bool:
        return 0 <= self.max_steps <= steps

    def _may_stop(self, trainer: lightning.Trainer, iterations: int) -> bool:
        least_steps = trainer.min_steps or 0
        return iterations >= (trainer.min_epochs or 0) and trainer.global_step >= least_steps


def warn_of_least_steps(trainer: lightning.Trainer) -> None:
    """How many steps an iteration takes is known only when it is played."""
    least = trainer.min_steps or 0
    if trainer.global_step < least:
        rank_zero_warn(
            f"trainer.min_steps={least} is not reached: the run ends at trainer.max_epochs="
            f"{trainer.max_epochs}, after {trainer.global_step} optimizer steps. Raise "
            "trainer.max_epochs to train further."
        )


def quieten_timers(trainer: lightning.Trainer) -> None:
    """One says that the time is over after every batch from then on."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer):
            callback._verbose = False
