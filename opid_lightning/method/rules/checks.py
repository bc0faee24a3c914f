"""What a rule returns, checked before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.gate import name_of
from opid_lightning.method.rules.rule import Rule
from opid_lightning.types import SKILL_LEVELS
from opid_lightning.value_checks import check_range


def check_weights(rule: Rule) -> None:
    """Raises where a level's weight is no number from 0 up: it would silently count as 0."""
    if not callable(rule.weight):
        raise ValueError(
            f"{name_of(rule)}.weight is {rule.weight!r}; expected the method weight(level) of "
            "Rule. Give the field another name, such as scale."
        )
    for level in SKILL_LEVELS:
        check_range(f"{name_of(rule)}.weight({level!r})", rule.weight(level), at_least=0)


def check_shape(rule: Rule, face: str, returned: object, expected: Float[Tensor, "B R"]) -> Tensor:
    """What was returned. Raises, naming the rule, unless it has a real number for each token."""
    if not isinstance(returned, Tensor):
        got = repr(type(returned))
    elif returned.shape != expected.shape:
        got = f"shape {list(returned.shape)}"
    elif not returned.is_floating_point() or returned.layout != torch.strided or returned.is_meta:
        place = " on the meta device" if returned.is_meta else ""
        got = f"a tensor of {returned.dtype}, {returned.layout}{place}"
    else:
        return returned
    raise ValueError(
        f"{name_of(rule)}.{face} returned {got}; expected a dense tensor of floats, of shape "
        f"{list(expected.shape)}, a number for each response token. Fix the rule."
    )


def check_gradient(rule: Rule, losses: Float[Tensor, "B R"]) -> None:
    """Raises, naming the rule, where losses would show and train nothing."""
    if torch.is_grad_enabled() and not losses.requires_grad and losses.any():
        raise ValueError(
            f"{name_of(rule)}.loss returned numbers without a gradient, so nothing would be "
            "trained on them; expected a function of logprobs that is not detached. Fix the rule."
        )


def check_numbers(
    rule: Rule, face: str, returned: Float[Tensor, "B R"], names: Sequence[str]
) -> None:
    """Raises, naming the rule and the step, where a number is NaN or infinite."""
    if returned.isfinite().all():
        return
    row, column = (~returned.isfinite()).nonzero()[0].tolist()
    raise ValueError(
        f"{name_of(rule)}.{face} returned {returned[row, column].item()} for response token "
        f"{column} of {names[row]}; expected finite numbers. Fix the rule."
    )
