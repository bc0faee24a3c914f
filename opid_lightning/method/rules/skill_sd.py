"""Skill-SD's rule: a KL divergence to the policy that reads the skill."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.rules.rule import Rule
from opid_lightning.value_checks import check_range

LARGEST_LOG_RATIO = 10.0
LARGEST_NEGATIVE_SHIFT = 20.0  # exp of more overflows in the square of a gradient


@dataclass(frozen=True)
class SkillSD(Rule):
    """`scale * rho * (exp(T - l) - 1 + l - T)`, with `rho = exp(l - old)`.

    `l` are the log-probs in training, `T` the teacher's. The gradient goes through both factors.
    The number is that of SDAR's script (ZJU-REAL/SDAR at 8b85c23), whose library's default is 0.1.
    """

    scale: float = 0.001  # weight of the loss

    def __post_init__(self) -> None:
        check_range("method.rule.scale", self.scale, at_least=0, hint="0 turns it off")

    def loss(
        self,
        logprobs: Float[Tensor, "B R"],
        old: Float[Tensor, "B R"],
        teacher: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """The `k3` estimate of the divergence, weighted by the importance ratio."""
        shift = logprobs - teacher
        divergence = (-shift).clamp(max=LARGEST_NEGATIVE_SHIFT).exp() - 1 + shift
        ratio = (logprobs - old).clamp(max=LARGEST_LOG_RATIO).exp()
        return self.scale * ratio * divergence
