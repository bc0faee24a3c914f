"""Correction for a sampler whose log-probs are not those of the trainer's old policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
