"""Rule: how the shift of log-probs in hindsight becomes credit for tokens."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from opid_lightning.types import SkillLevel


class Rule:
    """Base class of all rules. Override `weight`, and `advantages`, `loss` or both.

    A rule holds its own weights and schedules. Both faces are pure functions of tensors with one
    row for each step and one column for each response token. `mask` is 1 on the tokens that were
    scored with a skill; elsewhere `delta` is 0, and what `loss` returns is not read.
    """

    def weight(self, level: SkillLevel) -> float:
        """How much the skills of this level count in `delta`. At 0 they are not even scored."""
        return 1.0

    def advantages(
        self,
        outcome: Float[Tensor, "B 1"],
        delta: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """The advantage of each token, for all rows of an iteration at once, in float64.

        Args:
            outcome: outcome advantage of each row, GiGPO's state term included.
            delta: `log pi_old(y | h~) - log pi_old(y | h)`, the levels summed by their weights.
            mask: 1 on tokens that were scored with a skill.
            iteration: number of the iteration, from 0.
        """
        return outcome.expand_as(delta)

    def loss(
        self,
        logprobs: Float[Tensor, "B R"],
        old: Float[Tensor, "B R"],
        teacher: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"] | None:
        """A loss for each token, averaged over `mask` and added to the surrogate; None: no term.

        Args:
            logprobs: `log pi_theta(y | h)`; the gradient goes through it.
            old: `log pi_old(y | h)`.
            teacher: `log pi_old(y | h~)` of the skill that routing chose.
            mask: 1 on tokens that were scored with a skill.
            iteration: number of the iteration, from 0.
        """
        return None
