"""The loss of a micro-batch: surrogate, KL to the reference, entropy, and the rule's own term."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.losses.aggregation import Aggregation, aggregate
from opid_lightning.method.losses.kl import KLEstimator, kl_estimates
from opid_lightning.method.losses.mismatch import Mismatch, MismatchCorrection, mismatch_weights
from opid_lightning.method.losses.surrogate import Surrogate, gspo_surrogate, ppo_surrogate
from opid_lightning.method.rules.rule import Rule
from opid_lightning.types import Batch
from opid_lightning.value_checks import check_range, check_words


@dataclass(frozen=True)
class LossTerms:
    """The loss to step on, and what is worth watching, detached.

    Averaged over the micro-batches of an optimizer step, loss and metrics are those of the whole
    step.
    """

    loss: Float[Tensor, ""]
    metrics: Mapping[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Loss:
    """`policy_weight * surrogate + kl_weight * KL - entropy_weight * H`, plus the rule's loss."""

    surrogate: Literal["ppo", "gspo"] = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 3.0  # PPO: ceiling of the ratio where the advantage is negative
    # GSPO's surrogate is always averaged over sequences; the other terms follow this one.
    aggregation: Aggregation = "token-mean"
    kl_weight: float = 0.01
    kl_estimator: KLEstimator = "k3"
    entropy_weight: float = 0.0
    policy_weight: float = 1.0  # of the surrogate; 0 trains on the other terms alone
    # Where the sampler is another engine than the trainer (method/losses/mismatch.py). The ratio of
    # the surrogate is to the trainer's own old log-probs in any case.
    mismatch: MismatchCorrection = "none"
    mismatch_cap: float = 2.0

    def __post_init__(self) -> None:
        check_words("loss", self)
        check_range("loss.clip_low", self.clip_low, at_least=0, at_most=1)
        check_range("loss.clip_high", self.clip_high, at_least=0)
        check_range("loss.dual_clip", self.dual_clip, above=1)
        for name in ("policy_weight", "kl_weight", "entropy_weight"):
            check_range(f"loss.{name}", getattr(self, name), at_least=0, hint="0 turns it off")
        check_range("loss.mismatch_cap", self.mismatch_cap, above=1)

    @property
    def needs_reference(self) -> bool:
        return self.kl_weight > 0

    @property
    def needs_entropy(self) -> bool:
        return self.entropy_weight > 0

    def __call__(
        self,
        logprobs: Float[Tensor, "B R"],
        entropy: Float[Tensor, "B R"] | None,
        batch: Batch,
        rule: Rule = Rule(),
        iteration: int = 0,
    ) -> LossTerms:
        """The loss is scaled up by the number of micro-batches, as Lightning divides by it."""
        # What stands at padding must not even be differentiated: infinity times 0 is NaN.
        logprobs = torch.where(batch.response_mask.bool(), logprobs, 0.0)
        mismatch = mismatch_weights(
            batch.old_logprobs, batch.sampler_logprobs, self.mismatch, self.mismatch_cap
        )
        surrogate = self._surrogate(logprobs, batch, mismatch)
        terms = list(self._terms(surrogate, logprobs, entropy, batch))
        if (losses := rule_losses(rule, logprobs, batch, iteration)) is not None:
            terms.append(("rule", 1.0, self._over_routed(losses, batch)))
        loss = torch.stack([weight * value for _, weight, value in terms]).sum()
        watched = {name: value.detach() for name, _, value in terms}
        watched |= _statistics(logprobs.detach(), surrogate, mismatch, batch)
        num_batches = batch.totals.num_batches
        metrics = {name: value * num_batches for name, value in watched.items()}
        return LossTerms(loss * num_batches, metrics)

    def _surrogate(
        self, logprobs: Float[Tensor, "B R"], batch: Batch, mismatch: Mismatch
    ) -> Surrogate:
        # Weights are not negative, so that weighting advantages weights losses.
        likelihoods = (logprobs, batch.old_logprobs, mismatch.weights * batch.advantages)
        if self.surrogate == "gspo":
            return gspo_surrogate(*likelihoods, batch.response_mask, self.clip_low, self.clip_high)
        return ppo_surrogate(*likelihoods, self.clip_low, self.clip_high, self.dual_clip)

    def _terms(
        self,
        surrogate: Surrogate,
        logprobs: Float[Tensor, "B R"],
        entropy: Float[Tensor, "B R"] | None,
        batch: Batch,
    ) -> Iterator[tuple[str, float, Float[Tensor, ""]]]:
        """Name, weight and value of each term of the loss."""
        mask, totals = batch.response_mask, batch.totals
        how = "seq-mean-token-mean" if self.surrogate == "gspo" else self.aggregation
        yield "policy", self.policy_weight, aggregate(surrogate.losses, mask, how, totals)
        if self.needs_reference:
            kl = self._kl(logprobs, batch)
            yield "kl", self.kl_weight, aggregate(kl, mask, self.aggregation, totals)
        if self.needs_entropy:
            assert entropy is not None, "entropy_weight is set, but no entropy was computed"
            value = aggregate(
                torch.where(mask.bool(), entropy, 0.0), mask, self.aggregation, totals
            )
            yield "entropy", -self.entropy_weight, value

    def _kl(self, logprobs: Float[Tensor, "B R"], batch: Batch) -> Float[Tensor, "B R"]:
        if batch.reference_logprobs is None:
            raise ValueError(
                f"loss.kl_weight is {self.kl_weight}, but the rows were not scored by a reference "
                "policy; score them with one, or set loss.kl_weight to 0"
            )
        return kl_estimates(logprobs, batch.reference_logprobs, self.kl_estimator)

    def _over_routed(self, losses: Float[Tensor, "B R"], batch: Batch) -> Float[Tensor, ""]:
        """A mean over tokens is over those that a skill scored, as in the reference."""
        totals = replace(batch.totals, num_tokens=batch.totals.num_routed_tokens)
        return aggregate(losses, batch.routed_mask, self.aggregation, totals)


def rule_losses(
    rule: Rule, logprobs: Float[Tensor, "B R"], batch: Batch, iteration: int
) -> Float[Tensor, "B R"] | None:
    """The rule's own losses, of tokens that a skill scored alone; None where it has none."""
    mask = batch.routed_mask
    routed = [
        torch.where(mask.bool(), values, 0.0)
        for values in (logprobs, batch.old_logprobs, batch.skill_logprobs)
    ]
    logprobs, old, teacher = routed
    losses = rule.loss(logprobs, old, teacher, mask, iteration)
    if losses is not None and (not isinstance(losses, Tensor) or losses.shape != mask.shape):
        shape = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"{type(rule).__module__}.{type(rule).__qualname__}.loss returned {shape}; expected a "
            f"tensor of shape {list(mask.shape)}, a number for each response token, or None. Fix "
            "the rule."
        )
    return None if losses is None else torch.where(mask.bool(), losses, 0.0)


def _statistics(
    logprobs: Float[Tensor, "B R"], surrogate: Surrogate, mismatch: Mismatch, batch: Batch
) -> dict[str, Float[Tensor, ""]]:
    """Means over the response tokens of the optimizer step."""
    values = {
        "ppo_kl": batch.old_logprobs - logprobs,
        "clip_fraction": surrogate.is_clipped.float(),
        "dual_clip_fraction": surrogate.is_dual_clipped.float(),
        "mismatch_corrected_share": mismatch.is_corrected.float(),
    }
    return {
        name: aggregate(value, batch.response_mask, "token-mean", batch.totals)
        for name, value in values.items()
    }
