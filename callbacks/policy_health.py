"""PolicyHealth: how far the update moves the policy, and how far the sampler is from it."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from opid_lightning.lm.sharding import gradient_norm
from opid_lightning.training.hooks import RolloutCallback, ranks_of
from opid_lightning.types import Batch, Experience


class PolicyHealth(RolloutCallback):
    """Logs loss terms, ratios, clipping, entropy, gradient norm and the log-prob gap.

    Means are over response tokens of the whole iteration, of all ranks, never over padding; terms
    of the loss are means over optimizer steps, which count by their rows.
    """

    def __init__(self) -> None:
        self._batches: list[dict[str, Tensor]] = []
        self._terms: dict[str, list[float]] = defaultdict(list)  # of micro-batches
        self._rows: list[int] = []  # of the optimizer steps that these belong to
        self._grad_norms: list[float] = []
        self._sampler: dict[str, float] = {}

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """Keeps the sampler's metrics until the end of the epoch, when they can be logged."""
        self._sampler = {
            f"sampler/{name}": value for name, value in experience.sampler_metrics.items()
        }

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Forgets the update of the iteration before."""
        self._batches.clear()
        self._terms.clear()
        self._rows.clear()
        self._grad_norms.clear()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Collects loss terms and log-ratios of the micro-batch, on response tokens alone."""
        for name, value in outputs["metrics"].items():
            self._terms[name].append(float(value))
        self._terms["total"].append(float(outputs["loss"]) * trainer.accumulate_grad_batches)
        self._rows.append(batch.totals.num_rows)
        valid = batch.response_mask.bool()
        self._batches.append(
            {
                "log_ratio": (outputs["logprobs"] - batch.old_logprobs)[valid],
                "gap": (batch.old_logprobs - batch.sampler_logprobs)[valid],
                "old": batch.old_logprobs[valid],
            }
        )

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer
    ) -> None:
        """Records the gradient norm, before it is clipped."""
        self._grad_norms.append(gradient_norm(pl_module.model))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Logs `loss/*`, `policy/*` and `sampler/*` over the tokens of all ranks."""
        gathered = ranks_of(trainer).gather((self._batches, self._terms, self._rows))
        batches = [batch for part, _, _ in gathered for batch in part]
        rows = [number for _, _, part in gathered for number in part]
        tokens = {name: torch.cat([part[name].cpu() for part in batches]) for name in batches[0]}
        terms = {
            name: [value for _, part, _ in gathered for value in part[name]] for name in self._terms
        }
        loss = pl_module.loss
        metrics = {
            **{f"loss/{name}": weighted_mean(values, rows) for name, values in terms.items()},
            **ratio_health(tokens["log_ratio"].exp(), 1 - loss.clip_low, 1 + loss.clip_high),
            **sampler_gap(tokens["gap"]),
            **self._sampler,
            "policy/entropy_estimate": -tokens["old"].mean().item(),
            "policy/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "policy/grad_norm": sum(self._grad_norms) / len(self._grad_norms),
            "policy/first_ratio_error": first_ratio_error(batches),
        }
        pl_module.log_dict(metrics, on_step=False, on_epoch=True)


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """`sum(w * v) / sum(w)`; the weights must not sum to 0."""
    return sum(map(operator.mul, values, weights)) / sum(weights)


def ratio_health(ratio: Float[Tensor, " N"], low: float, high: float) -> dict[str, float]:
    """Mean, maximum and share outside `[low, high]` of the importance ratios."""
    outside: Bool[Tensor, " N"] = (ratio < low) | (ratio > high)
    return {
        "policy/ratio_mean": ratio.mean().item(),
        "policy/ratio_max": ratio.max().item(),
        "policy/ratio_outside_clip_share": outside.float().mean().item(),
    }


def sampler_gap(gap: Float[Tensor, " N"]) -> dict[str, float]:
    """How the trainer's log-probs of sampled tokens differ from the sampler's."""
    ratio = gap.exp()
    return {
        "sampler/logprob_gap_mean": gap.abs().mean().item(),
        "sampler/logprob_gap_max": gap.abs().max().item(),
        "sampler/ratio_outside_share": ((ratio < 0.8) | (ratio > 1.2)).float().mean().item(),
    }


def first_ratio_error(batches: list[dict[str, Tensor]]) -> float:
    """max |ratio - 1| on the iteration's first micro-batch: 0, or scoring differs from training."""
    first = next((part["log_ratio"] for part in batches if part["log_ratio"].numel()), None)
    assert first is not None, "an iteration without response tokens"
    return (first.exp() - 1).abs().max().item()
