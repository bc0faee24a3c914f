"""StageTimer: seconds and tokens of every stage of an iteration."""

from __future__ import annotations

import time
from typing import Any

import lightning

from opid_lightning.hooks import RolloutCallback


class StageTimer(RolloutCallback):
    """Logs seconds, tokens and tokens a second of rollout, hindsight, scoring and update.

    Tokens of a rollout are sampled ones; those of scoring and update are all positions that go
    through the model, prompt and response, padding left out.
    """

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._metrics: dict[str, float] = {}

    def on_stage_start(self, trainer: lightning.Trainer, stage: str, total: int) -> None:
        self._started[stage] = time.perf_counter()

    def on_stage_end(self, trainer: lightning.Trainer, stage: str, num_tokens: int) -> None:
        if trainer.training or not trainer.validating:
            self._finish(stage, num_tokens)

    def _finish(self, stage: str, num_tokens: int) -> None:
        seconds = time.perf_counter() - self._started.pop(stage)
        self._metrics[f"time/{stage}_s"] = seconds
        if num_tokens:
            self._metrics[f"time/{stage}_tokens"] = float(num_tokens)
            self._metrics[f"time/{stage}_tokens_per_s"] = num_tokens / seconds

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._started["update"] = time.perf_counter()
        self._num_update_tokens = 0

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch.names:  # not a filler
            self._num_update_tokens += int(batch.attention_mask.sum())

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._finish("update", self._num_update_tokens)
        pl_module.log_dict(self._metrics, on_step=False, on_epoch=True)
        self._metrics.clear()
