"""Clipped surrogates of the policy gradient: PPO with dual clip, and GSPO."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

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
