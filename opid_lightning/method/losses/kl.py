"""Estimators of KL(policy || reference) from the log-probs of sampled tokens.

After J. Schulman, "Approximating KL Divergence" (2020).
"""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.losses.surrogate import MAX_LOG_RATIO

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
