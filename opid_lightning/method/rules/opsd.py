"""On-policy self-distillation: move log-probs towards those of the policy with the skill."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.rules.rule import Rule
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class OPSD(Rule):
    """`-scale * (T - l) * l`, the first factor without a gradient.

    `l` are the log-probs in training, `T` the teacher's. Unlike `Distillation` it compares the
    teacher with the policy as it is now, so that it ends where both agree.
    """

    scale: float = 0.01  # weight of the loss

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
        """Its gradient moves each token's log-prob by its distance to the teacher's."""
        return -self.scale * (teacher - logprobs).detach() * logprobs
