"""Step-OPSD's rule: as RLSD's, with a sigmoid in place of the exponential."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.rules.rule import Rule
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class StepOPSD(Rule):
    """`A * ((1 - w) + w * clip(2 * sigmoid(sign(A) * delta), 1 - clip, 1 + clip))`.

    `w` is `scale`. A row of advantage 0 stays at 0. The method takes the tokens of the action
    alone; here all response tokens are taken, thoughts included, as a rule is not told which
    tokens are which. No numbers are published: both defaults are those of `RLSD`.
    """

    scale: float = 0.5  # weight `w`
    clip: float = 0.2  # the factor of an advantage is clipped to 1 +- this

    def __post_init__(self) -> None:
        check_range("method.rule.scale", self.scale, at_least=0, at_most=1, hint="0 turns it off")
        check_range("method.rule.clip", self.clip, above=0, at_most=1)

    def advantages(
        self,
        outcome: Float[Tensor, "B 1"],
        delta: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """The row's advantage times each token's share, which is within `1 +- clip`."""
        share = 2 * (outcome.sign() * delta).sigmoid()
        share = share.clamp(1 - self.clip, 1 + self.clip)
        return outcome * ((1 - self.scale) + self.scale * share)
