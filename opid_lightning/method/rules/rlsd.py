"""RLSD's rule: the shift says how much of its row's advantage a token gets."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.rules.rule import Rule
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class RLSD(Rule):
    """`A * ((1 - w) + w * clip(exp(sign(A) * delta), 1 - clip, 1 + clip))`.

    `w` falls from `scale` to 0 in `decay_iterations`. A row of advantage 0 stays at 0. The numbers
    are those of SDAR's script (ZJU-REAL/SDAR at 8b85c23).
    """

    scale: float = 0.5  # weight `w` in the first iteration
    clip: float = 0.2  # the factor of an advantage is clipped to 1 +- this
    decay_iterations: int | None = 100  # iterations until `w` is 0; null: it stays

    def __post_init__(self) -> None:
        check_range("method.rule.scale", self.scale, at_least=0, at_most=1)
        check_range("method.rule.clip", self.clip, above=0, at_most=1)
        length = self.decay_iterations
        check_range("method.rule.decay_iterations", length, at_least=1, or_null=True)

    def advantages(
        self,
        outcome: Float[Tensor, "B 1"],
        delta: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """The row's advantage times each token's share, which is within `1 +- clip`."""
        scale = self.scale
        if self.decay_iterations is not None:
            scale *= max(0.0, 1 - iteration / self.decay_iterations)
        share = (outcome.sign() * delta).exp().clamp(1 - self.clip, 1 + self.clip)
        return outcome * ((1 - scale) + scale * share)
