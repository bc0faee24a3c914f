"""The terms of the loss: surrogates, KL, weights for a mismatched sampler, means over tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from opid_lightning.types import Totals

Aggregation = Literal[
    "token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"
]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


def aggregate(
    values: Float[Tensor, "B R"],
    mask: Shaped[Tensor, "B R"],
    how: str,
    totals: Totals | None = None,
) -> Float[Tensor, ""]:
    """Aggregates the masked values.

    With `totals`, values are a micro-batch of an optimizer step of that size: its results add
    up to what the whole step would give, and rows without tokens add 0.
    """
    if how not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {how!r}; expected one of {AGGREGATIONS}")
    if totals is None:
        return _aggregate_whole(values * mask, mask, how)
    return _aggregate_part(values * mask, mask, how, totals)


def token_mean(values: Shaped[Tensor, "B R"], mask: Shaped[Tensor, "B R"]) -> Float[Tensor, ""]:
    """The mean over the tokens of the mask; 0 where the mask is empty."""
    return (values * mask).sum() / (mask.sum() + 1e-8)


def _aggregate_whole(
    masked: Float[Tensor, "B R"], mask: Shaped[Tensor, "B R"], how: str
) -> Float[Tensor, ""]:
    match how:
        case "token-mean":
            return masked.sum() / (mask.sum() + 1e-8)
        case "seq-mean-token-sum":
            return masked.sum(dim=-1).mean()
        case "seq-mean-token-mean":
            return (masked.sum(dim=-1) / mask.sum(dim=-1)).mean()
        case _:
            return masked.sum() / mask.shape[-1]


def _aggregate_part(
    masked: Float[Tensor, "B R"], mask: Shaped[Tensor, "B R"], how: str, totals: Totals
) -> Float[Tensor, ""]:
    match how:
        case "token-mean":
            return masked.sum() / max(totals.num_tokens, 1)
        case "seq-mean-token-sum":
            return masked.sum() / totals.num_rows
        case "seq-mean-token-mean":
            lengths = mask.sum(dim=-1).clamp(min=1)
            return (masked.sum(dim=-1) / lengths).sum() / totals.num_rows
        case _:
            return masked.sum() / max(totals.max_response, 1)


KLEstimator = Literal["k1", "k2", "k3", "abs"]
KL_ESTIMATORS: tuple[str, ...] = get_args(KLEstimator)


def kl_estimates(
    logprobs: Float[Tensor, "B R"], reference_logprobs: Float[Tensor, "B R"], estimator: str
) -> Float[Tensor, "B R"]:
    """The estimate at each token, in nats (Schulman, 2020); `k3` is clamped as in the reference."""
    difference = logprobs - reference_logprobs
    match estimator:
        case "k1":
            return difference
        case "abs":
            return difference.abs()
        case "k2":
            return difference.square() / 2
        case "k3":
            # The last clamp is the reference's: beyond it there is no gradient. The first changes
            # no value, and keeps exp from overflowing, whose gradient would be NaN.
            log_ratio = (-difference).clamp(max=MAX_LOG_RATIO)
            return (log_ratio.exp() + difference - 1).clamp(-10, 10)
    raise NotImplementedError(f"unknown KL estimator {estimator!r}; known: {KL_ESTIMATORS}")


MismatchCorrection = Literal["none", "truncate", "mask"]
MISMATCH_CORRECTIONS: tuple[str, ...] = get_args(MismatchCorrection)


@dataclass(frozen=True)
class Mismatch:
    """What each token's surrogate loss is multiplied by, and which tokens that changed."""

    weights: Float[Tensor, "B R"]
    is_corrected: Bool[Tensor, "B R"]


def mismatch_weights(
    old_logprobs: Float[Tensor, "B R"],
    sampler_logprobs: Float[Tensor, "B R"],
    correction: str,
    cap: float,
) -> Mismatch:
    """Importance weights `rho = pi_old / pi_sampler` of the tokens, bounded.

    `truncate`: `min(rho, cap)`, truncated importance sampling, which is unbiased where nothing
    is cut. `mask`: 1 where `1 / cap <= rho <= cap`, else 0. `none`: 1 everywhere. Counted as
    corrected are the tokens that were cut or dropped.
    """
    rho = (old_logprobs - sampler_logprobs).exp()
    if correction == "none":
        return Mismatch(torch.ones_like(rho), torch.zeros_like(rho, dtype=torch.bool))
    if correction == "truncate":
        return Mismatch(rho.clamp(max=cap), rho > cap)
    if correction == "mask":
        is_far = (rho > cap) | (rho < 1 / cap)
        return Mismatch((~is_far).to(rho.dtype), is_far)
    raise ValueError(
        f"unknown mismatch correction {correction!r}; expected one of {MISMATCH_CORRECTIONS}"
    )


MAX_LOG_RATIO = 20.0  # far outside every clip; exp overflows float32 at 88, and its gradient is NaN


@dataclass(frozen=True)
class Surrogate:
    """Losses of tokens, and which of them were clipped."""

    losses: Float[Tensor, "B R"]
    is_clipped: Bool[Tensor, "B R"]
    is_dual_clipped: Bool[Tensor, "B R"]


def importance_ratio(
    logprobs: Float[Tensor, "B R"], old_logprobs: Float[Tensor, "B R"]
) -> Float[Tensor, "B R"]:
    """`pi / pi_old`, without a gradient beyond `exp(+-MAX_LOG_RATIO)`."""
    return (logprobs - old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def ppo_surrogate(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    advantages: Float[Tensor, "B R"],
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Surrogate:
    """`-min(ratio * A, clip(ratio) * A)`, and for A < 0 at most `-dual_clip * A` (1912.09729)."""
    assert dual_clip > 1, f"dual_clip must be above 1, got {dual_clip}"
    ratio = importance_ratio(logprobs, old_logprobs)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    pessimistic = torch.maximum(plain, clipped)
    ceiling = -advantages * dual_clip
    is_bad = advantages < 0
    return Surrogate(
        losses=torch.where(is_bad, torch.minimum(pessimistic, ceiling), pessimistic),
        is_clipped=clipped > plain,
        is_dual_clipped=is_bad & (pessimistic > ceiling),
    )


def gspo_surrogate(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    advantages: Float[Tensor, "B R"],
    mask: Shaped[Tensor, "B R"],
    clip_low: float,
    clip_high: float,
) -> Surrogate:
    """PPO's with one ratio a sequence, `exp(mean log-ratio)` (GSPO-token, 2507.18071, eq. 14)."""
    lengths = mask.sum(dim=-1).clamp(min=1)
    mean_log_ratio = ((logprobs - old_logprobs) * mask).sum(dim=-1) / lengths
    # The value is the sequence's; the gradient goes through each token's own log-prob.
    log_ratio = logprobs - logprobs.detach() + mean_log_ratio.detach().unsqueeze(-1)
    ratio = log_ratio.clamp(max=10).exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    return Surrogate(
        losses=torch.maximum(plain, clipped),
        is_clipped=clipped > plain,
        is_dual_clipped=torch.zeros_like(plain, dtype=torch.bool),
    )
