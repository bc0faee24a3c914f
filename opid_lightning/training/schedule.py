"""The learning rate as a function of the iteration alone."""

from __future__ import annotations

import math
from typing import Literal, get_args

Decay = Literal["none", "linear", "cosine"]
DECAYS: tuple[str, ...] = get_args(Decay)


def check_has_end(decay: Decay, max_epochs: int | None) -> None:
    """Raises ValueError where the rate is to fall until an iteration that is not named."""
    if decay != "none" and (max_epochs or 0) < 1:
        raise ValueError(
            f"model.decay={decay} ends at trainer.max_epochs, which is {max_epochs}: give the "
            "number of iterations, or set model.decay=none"
        )


def learning_rate_share(iteration: int, num_iterations: int, warmup: int, decay: Decay) -> float:
    """The share of the full rate at which 0-based `iteration` trains.

    Rises to 1 at the last of `warmup` iterations; then stays, or falls so that the iteration
    after the last one would have 0.
    """
    if iteration < warmup:
        return (iteration + 1) / warmup
    if decay == "none":
        return 1.0
    done = (iteration - warmup) / max(num_iterations - warmup, 1)
    return 1 - done if decay == "linear" else (1 + math.cos(math.pi * done)) / 2
