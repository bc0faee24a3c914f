"""The advantage of tokens in hindsight: how far a skill in the prompt moves their log-probs."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def skill_advantages(
    skill_logprobs: Float[Tensor, "*_"],
    old_logprobs: Float[Tensor, "*_"],
    mask: Shaped[Tensor, "*_"] | None,
    normalise: bool = False,
    clip: float | None = None,
    epsilon: float = 1e-6,
) -> Float[Tensor, "*_"]:
    """`delta = skill - old` where the mask is set, then normalised, then clipped; else 0.

    Without a mask, all tokens are selected.
    """
    shapes = {tuple(x.shape) for x in (skill_logprobs, old_logprobs, mask) if x is not None}
    if len(shapes) > 1:
        raise ValueError(
            "log-probs with the skill, log-probs without it, and their mask must have one shape, "
            f"got {sorted(shapes)}"
        )
    advantages = (skill_logprobs - old_logprobs).detach()
    if mask is not None:
        advantages = advantages * mask
    if normalise:
        advantages = _normalise(advantages, mask, epsilon)
    return advantages if clip is None else advantages.clamp(-clip, clip)


def _normalise(
    advantages: Float[Tensor, "*_"], mask: Shaped[Tensor, "*_"] | None, epsilon: float
) -> Float[Tensor, "*_"]:
    """Mean 0 and population deviation 1 over the selected tokens of all rows."""
    is_selected = torch.ones_like(advantages, dtype=torch.bool) if mask is None else mask.bool()
    selected = advantages[is_selected]
    if not len(selected):
        return advantages
    centred = advantages - selected.mean()
    deviation = selected.std(correction=0)
    if deviation > epsilon:
        centred = centred / (deviation + epsilon)
    return torch.where(is_selected, centred, advantages)
