"""The loss of a micro-batch: surrogate, KL to the reference, entropy, and the rule's own term."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.loss_terms import (
    Aggregation,
    KLEstimator,
    Mismatch,
    MismatchCorrection,
    Surrogate,
    aggregate,
    gspo_surrogate,
    kl_estimates,
    mismatch_weights,
    ppo_surrogate,
)
from opid_lightning.method.rules.checks import check_gradient, check_numbers, check_shape
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
    """`policy_weight * surrogate + kl_weight * KL - entropy_weight * H`, plus the rule's loss.

    Defaults are the paper's (arXiv 2606.26790): epsilon 0.2 on both sides, beta 0.01, no entropy
    term. `ppo` clips the ratio of each token and, where the advantage is negative, at `dual_clip`
    as well; `gspo` takes one ratio per response (arXiv 2507.18071). Raises ValueError for a
    setting out of range.
    """

    surrogate: Literal["ppo", "gspo"] = "ppo"  # PPO with dual clip, or GSPO
    clip_low: float = 0.2  # lower clip of the ratio, 1 - clip_low
    clip_high: float = 0.2  # upper clip of the ratio, 1 + clip_high
    dual_clip: float = 3.0  # PPO: ceiling of the ratio where the advantage is negative
    # GSPO's surrogate is always averaged over sequences; the other terms follow this one.
    aggregation: Aggregation = "token-mean"
    kl_weight: float = 0.01  # weight of the KL to the reference policy
    kl_estimator: KLEstimator = "k3"  # estimator of the KL from sampled tokens
    entropy_weight: float = 0.0  # weight of the entropy bonus
    policy_weight: float = 1.0  # weight of the surrogate; 0 trains on the other terms alone
    # Where the sampler is another engine than the trainer (method/loss_terms.py). The ratio of
    # the surrogate is to the trainer's own old log-probs in any case.
    mismatch: MismatchCorrection = "none"
    mismatch_cap: float = 2.0  # bound of the importance weights of `mismatch`

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
        """Whether rows must be scored by the frozen reference, which costs a second model."""
        return self.kl_weight > 0

    @property
    def needs_entropy(self) -> bool:
        """Whether the forward must return entropies `[B R]`."""
        return self.entropy_weight > 0

    def __call__(
        self,
        logprobs: Float[Tensor, "B R"],
        entropy: Float[Tensor, "B R"] | None,
        batch: Batch,
        rule: Rule = Rule(),
        iteration: int = 0,
    ) -> LossTerms:
        """The loss of a micro-batch, times their number, as Lightning divides by it.

        Args:
            logprobs: `log pi_theta(y | h)` in nats; the gradient goes through it.
            entropy: of the policy at each response token, in nats; None where none is needed.
            batch: the rows, with their old log-probs and advantages.
            rule: may add a loss of its own.
            iteration: number of the iteration, from 0, which the rule is told.

        Raises ValueError where a reference is needed and rows were not scored by one, or the
        rule returns something else than `[B R]`.
        """
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
    returned = rule.loss(logprobs, old, teacher, mask.clone(), iteration)
    if returned is None:
        return None
    losses = torch.where(mask.bool(), check_shape(rule, "loss", returned, mask), 0.0)
    check_numbers(rule, "loss", losses, batch.names)
    if logprobs.requires_grad:
        check_gradient(rule, losses)
    return losses


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
