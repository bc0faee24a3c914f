"""An auxiliary loss: raise the tokens that a skill makes likelier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.loss_terms import importance_ratio
from opid_lightning.method.rules.rule import Rule
from opid_lightning.value_checks import check_range, check_words


@dataclass(frozen=True)
class Distillation(Rule):
    """`scale * -delta * log pi` (delta), or `scale * -delta * ratio` (importance).

    The factor of the log-prob, `delta` or `delta * ratio`, is clipped to `+-clip`; in the second
    mode a clipped token has no gradient. The outcome advantage stays as it is. From the
    reference's `compute_opd_loss`.
    """

    scale: float = 0.01  # weight of the loss
    mode: Literal["delta", "importance"] = "delta"  # which of the two forms
    clip: float | None = None  # clip the factor of the log-prob to +-this; null: not at all

    def __post_init__(self) -> None:
        check_range("method.rule.scale", self.scale, at_least=0, hint="0 turns it off")
        check_words("method.rule", self)
        check_range("method.rule.clip", self.clip, above=0, or_null=True)

    def loss(
        self,
        logprobs: Float[Tensor, "B R"],
        old: Float[Tensor, "B R"],
        teacher: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """The auxiliary loss of each token; see the class for both modes."""
        weights = self.weights(logprobs, old, teacher)
        return self.scale * (-weights * logprobs if self.mode == "delta" else -weights)

    def weights(
        self,
        logprobs: Float[Tensor, "B R"],
        old: Float[Tensor, "B R"],
        teacher: Float[Tensor, "B R"],
    ) -> Float[Tensor, "B R"]:
        """The clipped factor of each token; in the mode `importance` it carries the gradient."""
        weights = (teacher - old).detach()
        if self.mode == "importance":
            weights = weights * importance_ratio(logprobs, old)
        return weights if self.clip is None else weights.clamp(-self.clip, self.clip)
