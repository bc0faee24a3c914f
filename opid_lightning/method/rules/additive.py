"""OPID's rule: the shift is added to the outcome advantage (paper, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from opid_lightning.method.rules.rule import Rule
from opid_lightning.types import SkillLevel
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class Additive(Rule):
    """`A = A_outcome + episode_weight * delta_episode + step_weight * delta_step`.

    The paper has one lambda, 0.001, for both levels; at 0 and 0 this is GRPO.
    """

    episode_weight: float = 0.001  # lambda of episode skills
    step_weight: float = 0.001  # lambda of step skills
    # Scales the skill term so that its mean size, over the tokens that a skill scored, is this
    # share of `outcome_scale`. The two weights then say how the levels compare.
    target_ratio: float | None = None
    # The usual mean |A_outcome| of groups that do not tie: about 1 with `mean_std`, about 0.4 of a
    # win's reward with `mean`. A setting, as the batch's own mean is 0 where all groups tie, which
    # is where the skill term is the only signal.
    outcome_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("episode_weight", "step_weight"):
            weight = getattr(self, name)
            check_range(f"method.rule.{name}", weight, at_least=0, hint="0 turns it off")
        check_range("method.rule.target_ratio", self.target_ratio, above=0, or_null=True)
        check_range("method.rule.outcome_scale", self.outcome_scale, above=0)

    def weight(self, level: SkillLevel) -> float:
        """`episode_weight` or `step_weight`: lambda of the paper."""
        return self.episode_weight if level == "episode" else self.step_weight

    def advantages(
        self,
        outcome: Float[Tensor, "B 1"],
        delta: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """Adds delta, scaled to `target_ratio` where that is set."""
        return outcome + self._scale(delta, mask) * delta

    def _scale(self, delta: Float[Tensor, "B R"], mask: Float[Tensor, "B R"]) -> float:
        size = delta.abs().sum().item()
        if self.target_ratio is None or size == 0:
            return 1.0
        return self.target_ratio * self.outcome_scale * mask.sum().item() / size
