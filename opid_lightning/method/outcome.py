"""Group-relative advantage of outcomes: how a row's score compares with its group's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from opid_lightning.method.groups import Deviation, group_deviations

Normalise = Literal["mean", "mean_std"]
SingleMember = Literal["zero", "raw"]


@dataclass(frozen=True)
class GroupNormalisation:
    """`(score - mean) / (std + epsilon)` over the row's group, or `score - mean`."""

    normalise: Normalise
    deviation: Deviation
    single_member: SingleMember  # of a group of one: advantage 0, or the score as it is
    epsilon: float

    def __call__(
        self,
        scores: Float[Tensor, " B"],
        groups: Int[Tensor, " B"],
        counted: Bool[Tensor, " B"] | None = None,
        compared: Float[Tensor, " B"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Only `counted` rows enter the statistics, with the score `compared` where it is another.

        Every group has at least one.
        """
        # In float32 the mean of equal scores can miss them by one ulp, which dividing by
        # epsilon would blow up.
        values = scores.double()
        chosen = slice(None) if counted is None else counted
        entering = values if compared is None else compared.double()
        sizes, means, deviations = group_deviations(
            entering[chosen], groups[chosen], self.deviation
        )
        is_single = sizes == 1
        if self.single_member == "raw":
            means = means.masked_fill(is_single, 0.0)
        centred = values - means[groups]
        if self.normalise == "mean_std":
            deviations = deviations.masked_fill(is_single, 1.0)
            centred = centred / (deviations[groups] + self.epsilon)
        return centred.to(scores.dtype)


def episode_scores(
    rewards: Float[Tensor, " B"], lengths: Float[Tensor, " B"], divide_by_length: bool
) -> Float[Tensor, " B"]:
    """The score of each row: the reward of its whole episode, or that a step."""
    return rewards / lengths if divide_by_length else rewards


def penalties(is_valid: Float[Tensor, " B"], coefficient: float) -> Float[Tensor, " B"]:
    """What each row loses for an invalid action."""
    return coefficient * (1.0 - is_valid)
