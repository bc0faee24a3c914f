"""Whether an optimizer can train, found out on one weight before anything is played."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from opid_lightning.value_checks import check_range

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
