"""RoutingStatistics: what was analysed and routed where, and how much that weighs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.callbacks.first_warnings import FirstWarnings
from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.types import SKILL_LEVELS, Experience, RouteLevel, Sample

SMALL_RATIO = 0.01  # of skill to outcome term
_log = logging.getLogger(__name__)


class RoutingStatistics(RolloutCallback):
    """Logs the skill, routing, advantage and delta metrics of docs/metrics.md.

    Warns once where hindsight weighs so little that it teaches next to nothing.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}
        self._warnings = FirstWarnings(_log)

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """Computes `skills/*` and `routing/*`.

        Warns once where the skill term is too small to matter.
        """
        self._metrics = routing_statistics(experience)
        self._warnings.give(trainer, experience.iteration, too_small(self._metrics))

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Logs the figures of the iteration's routing."""
        pl_module.log_dict(self._metrics, on_step=False, on_epoch=True)


def routing_statistics(experience: Experience) -> dict[str, float]:
    """Metrics by name; means over nothing are left out, not 0."""
    return {
        **skill_counts(experience),
        **routed_shares(experience.samples),
        **advantage_sizes(unfailed(experience)),
        **delta_means(experience.samples),
    }


def skill_counts(experience: Experience) -> dict[str, float]:
    """Trajectories analysed, failed and skipped, and the failures of each reason."""
    hindsight = experience.hindsight
    statuses = Counter(hindsight.status(t.id) for t in experience.trajectories)
    reasons = Counter(hindsight.failures.values())
    return {
        "skills/analysed": float(statuses["analysed"]),
        "skills/failed": float(statuses["failed"]),
        "skills/skipped": float(statuses["skipped"]),
        **{f"skills/failed_{reason}": float(n) for reason, n in sorted(reasons.items())},
    }


def routed_shares(samples: Sequence[Sample]) -> dict[str, float]:
    """The share of steps scored at each level, and how many skill prompts were over budget."""
    levels = Counter(scored_level(sample) for sample in samples)
    names: tuple[RouteLevel, ...] = get_args(RouteLevel)
    return {
        **{f"routing/{name}_share": levels[name] / len(samples) for name in names},
        "routing/over_budget": float(sum(bool(s.scored.routed.over_budget) for s in samples)),
    }


def scored_level(sample: Sample) -> RouteLevel:
    """By which skills the row was scored, which is less than its route where one did not fit."""
    levels = sample.scored.skill_logprobs.keys()
    if len(levels) == 2:
        return "both"
    return next(iter(levels), "none")


def unfailed(experience: Experience) -> list[Sample]:
    """Without trajectories whose analysis failed: they have no skill term for want of an answer."""
    failed = experience.hindsight.failures
    return [s for s in experience.samples if s.scored.routed.trajectory.id not in failed]


def advantage_sizes(samples: Sequence[Sample]) -> dict[str, float]:
    """Both terms as means over the same response tokens, so that the ratio compares like things."""
    if not samples:
        return {}
    skill = torch.cat([sample.skill_advantage for sample in samples]).abs()
    outcome = torch.cat(
        [torch.full_like(s.skill_advantage, s.outcome_advantage) for s in samples]
    ).abs()
    if not skill.numel():
        return {}
    sizes = {
        "advantage/outcome_abs_mean": outcome.mean().item(),
        "advantage/skill_abs_mean": skill.mean().item(),
    }
    if outcome.any():
        sizes["advantage/skill_to_outcome_ratio"] = (skill.mean() / outcome.mean()).item()
    return sizes


def too_small(metrics: Mapping[str, float]) -> dict[str, str]:
    """Blank where the skill term can be felt, or no skill was scored at all."""
    ratio = metrics.get("advantage/skill_to_outcome_ratio", 1.0)
    if ratio >= SMALL_RATIO or "delta/abs_mean" not in metrics:
        return {}
    warning = (
        f"the skill term is {ratio:.2%} of the outcome term in size "
        "(advantage/skill_to_outcome_ratio), so the run trains as it would without skills. "
        "method.rule.target_ratio=0.1 makes it a tenth, however large the deltas are; a higher "
        "method.rule.episode_weight and method.rule.step_weight scale it as it is"
    )
    return {"small skill term": warning}


def delta_means(samples: Sequence[Sample]) -> dict[str, float]:
    """Means of `log pi_old(y | h~) - log pi_old(y | h)` over the tokens that a skill scored."""
    deltas = [
        (level, sample.scored.routed.trajectory.won, sample.scored.delta(level))
        for sample in samples
        for level in SKILL_LEVELS
        if level in sample.scored.skill_logprobs
    ]
    parts: dict[str, list[Float[Tensor, " R"]]] = {
        "episode": [delta for level, _, delta in deltas if level == "episode"],
        "step": [delta for level, _, delta in deltas if level == "step"],
        "abs": [delta.abs() for _, _, delta in deltas],
        "success": [delta for _, won, delta in deltas if won],
        "failure": [delta for _, won, delta in deltas if not won],
    }
    return {
        f"delta/{name}_mean": torch.cat(part).mean().item()
        for name, part in parts.items()
        if sum(delta.numel() for delta in part)
    }
