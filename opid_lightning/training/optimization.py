"""The optimizer: its default, what of it is refused, and its learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch.optim import Optimizer

from opid_lightning.value_checks import check_range

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


# By what torch's messages say; of others the whole message is shown.
SAID = {
    "learning rate": "lr",
    "epsilon": "eps",
    "weight_decay": "weight_decay",
    "beta": "betas",
    "momentum": "momentum",
    "capturable": "capturable",
    "fused": "fused",
    "in-place": "differentiable",
}


def check_optimizer(make: Callable[[Iterable[Any]], Optimizer]) -> None:
    """Raises ValueError for settings that it refuses, or with which a step fails or climbs."""
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1.0, 0.0])  # as of words that no batch holds
    try:
        optimizer = make([weight])
        check_finite(optimizer)
        optimizer.step(lambda: 0.0)
    except Exception as error:  # of whatever class was asked for
        if isinstance(error, ValueError) and str(error).startswith("optimizer."):
            raise
        named = next((f".{name}" for words, name in SAID.items() if words in str(error)), "")
        reason = str(error).splitlines()[0]
        raise ValueError(f"optimizer{named}: a step on one weight fails: {reason}") from error
    if not weight.isfinite().all():
        raise ValueError(
            f"optimizer.eps is {optimizer.defaults.get('eps')}; expected more than 0: a weight "
            "without a gradient becomes NaN"
        )
    if weight[0] > 0:
        raise ValueError(
            f"optimizer.maximize is {optimizer.defaults.get('maximize')}; expected an optimizer "
            "that goes down the gradient: this one would raise the loss"
        )


def check_finite(optimizer: Optimizer) -> None:
    """Raises ValueError for a setting of the optimizer that is NaN or infinite."""
    for name, value in optimizer.defaults.items():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(part, float) and not isinstance(part, bool):
                check_range(f"optimizer.{name}", part)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """AdamW as in the reference's scripts."""
    return torch.optim.AdamW(parameters, lr=1e-6, weight_decay=0.01)
