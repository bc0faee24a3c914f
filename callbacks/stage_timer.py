"""StageTimer: seconds and tokens of every stage of an iteration."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import lightning

from opid_lightning.training.hooks import RolloutCallback


class StageTimer(RolloutCallback):
    """Logs seconds, tokens and tokens a second of each stage.

    Tokens of rollouts and evaluations are sampled ones; those of scoring and update are of whole
    prompts and responses, padding left out, and what rows share counted in each.
    """

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tokens: Counter[str] = Counter()

    def on_stage_start(self, trainer: lightning.Trainer, stage: str, total: int) -> None:
        """Starts the stage's clock."""
        self._began[stage] = time.perf_counter()

    def on_stage_end(self, trainer: lightning.Trainer, stage: str, num_tokens: int) -> None:
        """Adds the stage's seconds, and the tokens that it sampled or scored."""
        self._seconds[stage] += time.perf_counter() - self._began.pop(stage)
        self._tokens[stage] += num_tokens

    def on_sanity_check_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The evaluation before the first update is no part of an iteration."""
        self._seconds.clear()
        self._tokens.clear()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Starts the clock of the update, which Lightning runs itself."""
        self.on_stage_start(trainer, "update", 0)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the micro-batch's tokens of prompts and responses; fillers have none."""
        if batch.names:  # not a filler
            self._tokens["update"] += batch.inputs.num_tokens

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Logs seconds and tokens of all stages; the evaluation is not part of the update."""
        self.on_stage_end(trainer, "update", 0)
        # Lightning evaluates before it ends the epoch.
        self._seconds["update"] -= self._seconds.get("evaluation", 0.0)
        pl_module.log_dict(stage_metrics(self._seconds, self._tokens), on_step=False, on_epoch=True)
        self._seconds.clear()
        self._tokens.clear()


def stage_metrics(seconds: Mapping[str, float], tokens: Mapping[str, int]) -> dict[str, float]:
    """Metrics of docs/metrics.md by name; tokens where a stage has any."""
    busy = {stage: tokens[stage] for stage in seconds if tokens[stage]}
    return {
        **{f"time/{stage}_s": took for stage, took in seconds.items()},
        **{f"time/{stage}_tokens": float(count) for stage, count in busy.items()},
        **{f"time/{stage}_tokens_per_s": count / seconds[stage] for stage, count in busy.items()},
    }
