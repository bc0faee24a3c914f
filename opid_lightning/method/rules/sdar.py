"""SDAR's rule: raise the tokens that the policy with the skill finds likelier, behind a gate."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.rules.rule import Rule
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class SDAR(Rule):
    """`scale * g * (T - l)`, with the gate `g = sigmoid(sharpness * (T - l))` without a gradient.

    `l` are the log-probs in training, `T` the teacher's. With `sharpness` 0 the gate is 0.5 for
    every token, so the gradient is the same whatever the teacher says: SDAR's script calls this
    GRPO + OPSD, but it distils nothing. The numbers are those of SDAR's script (ZJU-REAL/SDAR at
    8b85c23).
    """

    scale: float = 0.01  # weight of the loss
    sharpness: float = 5.0  # slope of the gate; 0 makes it 0.5 everywhere

    def __post_init__(self) -> None:
        check_range("method.rule.scale", self.scale, at_least=0, hint="0 turns it off")
        check_range("method.rule.sharpness", self.sharpness, at_least=0)

    def loss(
        self,
        logprobs: Float[Tensor, "B R"],
        old: Float[Tensor, "B R"],
        teacher: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """The gated distance to the teacher, in nats per token."""
        gate = (self.sharpness * (teacher - logprobs.detach())).sigmoid()
        return self.scale * gate * (teacher - logprobs)
