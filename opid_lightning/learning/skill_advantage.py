"""The advantage of tokens in hindsight: how far a skill in the prompt moves their log-probs."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def skill_advantages(
    skill_logprobs: Float[Tensor, "*_"],
    old_logprobs: Float[Tensor, "*_"],
    mask: Shaped[Tensor, "*_"],
    normalise: bool = False,
    clip: float | None = None,
    epsilon: float = 1e-6,
) -> Float[Tensor, "*_"]:
    """`delta = skill - old` where the mask is set, then normalised, then clipped; else 0."""
    if not skill_logprobs.shape == old_logprobs.shape == mask.shape:
        raise ValueError(
            f"log-probs with the skill have shape {tuple(skill_logprobs.shape)}, without it "
            f"{tuple(old_logprobs.shape)}, their mask {tuple(mask.shape)}; expected one shape"
        )
    advantages = (skill_logprobs - old_logprobs).detach() * mask
    if normalise:
        advantages = _normalise(advantages, mask, epsilon)
    return advantages if clip is None else advantages.clamp(-clip, clip)


def _normalise(
    advantages: Float[Tensor, "*_"], mask: Shaped[Tensor, "*_"], epsilon: float
) -> Float[Tensor, "*_"]:
    """Mean 0 and population deviation 1 over the selected tokens of all rows."""
    is_selected = mask.bool()
    selected = advantages[is_selected]
    if not len(selected):
        return advantages
    centred = advantages - selected.mean()
    deviation = selected.std(correction=0)
    if deviation > epsilon:
        centred = centred / (deviation + epsilon)
    return torch.where(is_selected, centred, advantages)
