"""The auxiliary distillation loss: raise the tokens that a skill makes likelier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.losses.surrogate import importance_ratio

DistillationMode = Literal["delta", "importance"]
DISTILLATION_MODES: tuple[str, ...] = get_args(DistillationMode)


@dataclass(frozen=True)
class Distillation:
    """Losses of tokens, the weights in them, and the importance ratio where one was used."""

    losses: Float[Tensor, "B R"]
    weights: Float[Tensor, "B R"]
    ratio: Float[Tensor, "B R"] | None


def distillation(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    skill_logprobs: Float[Tensor, "B R"],
    mode: str,
    clip: float | None,
) -> Distillation:
    """`-delta * log pi` (delta), or `-delta * ratio` (importance), with delta = skill - old.

    The weight, `delta` or `delta * ratio`, is clipped to `+-clip`; in the second mode a clipped
    token has no gradient.
    """
    delta = (skill_logprobs - old_logprobs).detach()
    if mode == "delta":
        weights = delta if clip is None else delta.clamp(-clip, clip)
        return Distillation(-weights * logprobs, weights, None)
    if mode == "importance":
        ratio = importance_ratio(logprobs, old_logprobs)
        weights = delta * ratio
        weights = weights if clip is None else weights.clamp(-clip, clip)
        return Distillation(-weights, weights.detach(), ratio.detach())
    raise ValueError(f"unknown distillation mode {mode!r}; expected one of {DISTILLATION_MODES}")
