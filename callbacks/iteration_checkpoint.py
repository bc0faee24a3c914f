"""IterationCheckpoint: keeps the newest finished iterations, and the best evaluated ones."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from opid_lightning.training.checkpoints.files import LAST
from opid_lightning.training.hooks import iteration_number
from opid_lightning.value_checks import check_range

EVALUATION = "validation/"  # how the metrics of one begin
NEWEST = 2  # where the newest is damaged, or its weights are, there is one before it


class IterationCheckpoint(ModelCheckpoint):
    """Writes a checkpoint when an iteration ends, and always when the last one of the run does.

    The two newest are kept, and `last.ckpt` is another name of the newest one. With `monitor`, the
    best are kept beside them.

    Args:
        dirpath: where to; null is `checkpoints` in the run's folder, whatever the loggers are.
            `ckpt_path=last` finds them in either place.
        monitor: a metric of docs/metrics.md by which some are better than others. One of an
            evaluation counts in iterations that are evaluated, which are then written as well.
        mode: whether a high score is good (`max`) or a low one (`min`).
        save_top_k: of the best, how many are kept; -1 keeps every checkpoint.
        every_n_epochs: how many iterations there are from one checkpoint to the next.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "max",
        save_top_k: int = 1,
        every_n_epochs: int = 1,
    ) -> None:
        check_range("callbacks.checkpoint.every_n_epochs", every_n_epochs, at_least=1)
        check_range("callbacks.checkpoint.save_top_k", save_top_k, at_least=-1)
        super().__init__(
            dirpath=dirpath,
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k,
            every_n_epochs=every_n_epochs,
            save_last="link",
            save_on_train_epoch_end=True,
            enable_version_counter=False,  # what a killed run wrote is written again by its name
        )
        self.newest: list[str] = []
        self.scores: dict[str, float] = {}  # of the best
        self._loaded: dict[str, Any] = {}
        self._evaluated: int | None = None  # the newest iteration that was
        self._evaluation = 1
        self._is_first = not self._counts_evaluations  # of the iterations of this run

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Puts checkpoints into the run's folder where no `dirpath` is given."""
        if self.dirpath is None:
            self.dirpath = os.path.join(trainer.default_root_dir, "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Raises ValueError where `monitor` is never logged, or another writes its files."""
        if self._counts_evaluations and not trainer.limit_val_batches:
            raise ValueError(
                f"callbacks.checkpoint.monitor is {self.monitor}, but trainer.limit_val_batches=0 "
                "leaves evaluations out: monitor a metric of training, or evaluate."
            )
        for other in trainer.checkpoint_callbacks:
            if isinstance(other, ModelCheckpoint) and other is not self and self._collides(other):
                raise ValueError(
                    f"Two checkpoint callbacks write files of the same names to {self.dirpath}, "
                    "and each would remove the other's: give one of them a dirpath of its own."
                )

    @property
    def _counts_evaluations(self) -> bool:
        return self.monitor is not None and self.monitor.startswith(EVALUATION)

    def _collides(self, other: ModelCheckpoint) -> bool:
        is_same = os.path.realpath(str(self.dirpath)) == os.path.realpath(str(other.dirpath))
        return is_same and (not other.filename or bool(other.save_last))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Takes over the kept checkpoints of a resumed run, as far as their files still exist."""
        self._evaluation = pl_module.evaluation_number
        there = trainer.strategy.broadcast([name for name in self._names() if self._is_there(name)])
        self.newest = [name for name in self._loaded.get("newest", ()) if name in there]
        self.scores = {
            n: score for n, score in self._loaded.get("scores", {}).items() if n in there
        }
        if self._loaded.get("evaluation", self._evaluation) != self._evaluation and self.scores:
            rank_zero_info(
                f"callbacks.checkpoint.monitor={self.monitor}: {', '.join(self.scores)}, the best "
                "by the earlier evaluation, is kept for good, and no later one compared with it."
            )
            self.newest = [name for name in self.newest if name not in self.scores]
            self.scores = {}

    def _names(self) -> set[str]:
        return {*self._loaded.get("newest", ()), *self._loaded.get("scores", ())}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Remembers which iteration was evaluated; raises ValueError for an unknown `monitor`."""
        if trainer.state.fn != "fit":
            return
        if self._counts_evaluations:
            check_known(self.monitor, pl_module.evaluation_result.metrics("validation"))
        if not trainer.sanity_checking:
            self._evaluated = iteration_number(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Writes a checkpoint where one is due, among the best, or the run's last."""
        finished = iteration_number(trainer)
        score = self._score(trainer, is_evaluated=self._evaluated == finished - 1)
        is_due = finished % self._every_n_epochs == 0
        is_best = score is not None and self._is_among_best(score)
        if is_due or is_best or pl_module.run_end.is_over(trainer, finished):
            self._write(trainer, score if is_best else None)

    def _score(self, trainer: lightning.Trainer, is_evaluated: bool) -> float | None:
        """None where the iteration has none: Lightning still knows that of an earlier one."""
        if self.monitor is None:
            return None
        of_training = trainer._logger_connector.metrics["callback"]
        known = trainer.callback_metrics if is_evaluated else of_training
        if self.monitor not in known:
            message = (
                f"callbacks.checkpoint.monitor: iteration {trainer.current_epoch + 1} logged no "
                f"{self.monitor}, and is not compared. {nearest_to(self.monitor, known)}"
            )
            is_first, self._is_first = self._is_first, False
            if is_evaluated or not trainer.limit_val_batches:
                rank_zero_warn(message)
            elif is_first:  # it may be an own metric of evaluations, or misspelt
                rank_zero_info(message)
            return None
        score = float(known[self.monitor])
        return None if math.isnan(score) else score

    def _is_among_best(self, score: float) -> bool:
        better = [kept for kept in self.scores.values() if self._rank(kept) <= self._rank(score)]
        return self.save_top_k == -1 or len(better) < self.save_top_k

    def _rank(self, score: float) -> float:
        """The lower the better."""
        return -score if self.mode == "max" else score

    def _write(self, trainer: lightning.Trainer, score: float | None) -> None:
        path = self.format_checkpoint_name(self._monitor_candidates(trainer))
        name = os.path.basename(path)
        # First, as the checkpoint holds it: a run that is killed now removes what is too many.
        self.newest = [*(each for each in self.newest if each != name), name]
        if score is not None:
            self.scores[name] = score
        self._save_checkpoint(trainer, path)
        self.last_model_path = self._path(LAST)
        self._link_checkpoint(trainer, path, self.last_model_path)
        self._forget_surplus(trainer)
        self._tell_lightning(score)

    def _forget_surplus(self, trainer: lightning.Trainer) -> None:
        if self.save_top_k == -1:
            return
        before = {*self.newest, *self.scores}
        # Of equal scores the first stays.
        best = sorted(self.scores, key=lambda name: self._rank(self.scores[name]))
        self.scores = {name: self.scores[name] for name in best[: self.save_top_k]}
        self.newest = self.newest[-NEWEST:]
        for name in sorted(before - {*self.newest, *self.scores}):
            if self._should_remove_checkpoint(trainer, self._path(name), self._path(LAST)):
                self._remove_checkpoint(trainer, self._path(name))

    def _tell_lightning(self, score: float | None) -> None:
        """What loggers and `trainer.test(ckpt_path="best")` look at."""
        best = sorted(self.scores, key=lambda name: self._rank(self.scores[name]))
        self.best_k_models = {self._path(n): torch.tensor(self.scores[n]) for n in best}
        self.best_model_path = self._path(best[0] if best else self.newest[-1])
        self.best_model_score = torch.tensor(self.scores[best[0]]) if best else None
        self.current_score = None if score is None else torch.tensor(score)

    def _path(self, name: str) -> str:
        return os.path.join(str(self.dirpath), name)

    def _is_there(self, name: str) -> bool:
        return Path(self._path(name)).exists()

    def state_dict(self) -> dict[str, Any]:
        """The names of kept checkpoints, their scores, and which evaluation gave these."""
        return {"newest": self.newest, "scores": self.scores, "evaluation": self._evaluation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Names within its folder, which may have been moved; a branch elsewhere has none yet."""
        self._loaded = state_dict


def check_known(monitor: str | None, names: Iterable[str]) -> None:
    """Raises for a score that no evaluation will have; nothing won has no mean length."""
    assert monitor is not None
    if monitor not in names and not monitor.endswith("/steps_of_wins_mean"):
        raise ValueError(
            f"callbacks.checkpoint.monitor is {monitor}, which evaluations do not log. "
            f"{nearest_to(monitor, names)}"
        )


def nearest_to(name: str, names: Iterable[str]) -> str:
    """A hint for a misspelt metric: the closest logged name, or the page that lists them."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {close[0]}?" if close else "docs/metrics.md lists what is logged."
