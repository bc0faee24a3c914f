"""The advantage of every step by its outcome, and by its state (GRPO, GiGPO)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.method.groups import Deviation, first_rows, group_means, number_groups
from opid_lightning.method.outcome import (
    GroupNormalisation,
    Normalise,
    SingleMember,
    episode_scores,
    penalties,
)
from opid_lightning.method.returns import discounted_returns
from opid_lightning.method.rows import Rows
from opid_lightning.method.state_groups import state_groups
from opid_lightning.protocols import GAMMA
from opid_lightning.types import RowAdvantages, ScoredStep
from opid_lightning.value_checks import check_range, check_words


@dataclass(frozen=True)
class Advantage:
    """`A_outcome + state_weight * A_state` of each row; a rule adds what hindsight says.

    A row's score is its trajectory's reward. The defaults are the paper's; the reference code
    takes `over="steps"`, `deviation="unbiased"`, `single_member="raw"` and the penalty before
    normalisation. Advantages are float64 `[B]`, in units of the group's deviation with `mean_std`
    and of the reward with `mean`. Raises ValueError for a setting out of range.
    """

    normalise: Normalise = "mean_std"  # subtract the group's mean, or also divide by its deviation
    # what counts once in the group's statistics
    over: Literal["trajectories", "steps"] = "trajectories"
    deviation: Deviation = "population"  # divisor of the variance: N, or N - 1
    single_member: SingleMember = "zero"  # advantage of a group of one: 0, or its score
    epsilon: float = 1e-6  # added to the deviation
    divide_by_length: bool = False  # a row's score is the trajectory's reward per step
    invalid_action_penalty: float = 0.0  # subtracted from rows with a malformed response
    penalty_after_normalisation: bool = True  # subtract it from the advantage, not from the score
    state_weight: float = 0.0  # weight of GiGPO's advantage among equal observations
    # Of all discounted returns: of GiGPO's steps, of those that the analyst is told, and of those
    # by which statistics choose critical steps. Nothing else sets it.
    gamma: float = GAMMA
    # ratio from which observations count as equal; null: only identical ones
    state_similarity: float | None = None

    def __post_init__(self) -> None:
        check_words("advantage", self)
        for name in ("invalid_action_penalty", "state_weight"):
            check_range(f"advantage.{name}", getattr(self, name), at_least=0, hint="0 turns it off")
        check_range("advantage.epsilon", self.epsilon, above=0)
        check_range("advantage.gamma", self.gamma, at_least=0, at_most=1)
        check_range(
            "advantage.state_similarity", self.state_similarity, above=0, below=1, or_null=True
        )

    def check_group_size(self, group_size: int) -> None:
        """Raises where a group is too small to compare its members."""
        if group_size >= 2:
            return
        deviation = " and divided by its deviation" if self.normalise == "mean_std" else ""
        raise ValueError(
            f"group size {group_size} with advantage.normalise={self.normalise}: each outcome is "
            f"compared with its group's mean{deviation}, so an attempt alone has advantage 0 and "
            "nothing is learned; set rollout.group_size to at least 2 (the paper: 8)"
        )

    def __call__(self, steps: Sequence[ScoredStep]) -> RowAdvantages:
        """The outcome and state terms of all steps of an iteration, in the order given."""
        rows = Rows(steps)
        scores = episode_scores(rows.episode_rewards, rows.episode_lengths, self.divide_by_length)
        lost = penalties(rows.is_valid, self.invalid_action_penalty)
        outcome = self.outcome(scores, lost, rows.tasks, rows.trajectories)
        return RowAdvantages(outcome, self._state_term(rows, lost))

    def outcome(
        self,
        scores: Float[Tensor, " B"],
        lost: Float[Tensor, " B"],
        tasks: Sequence[Hashable],
        trajectories: Sequence[Hashable],
    ) -> Float[Tensor, " B"]:
        """Each row's score against those of all rows, or all trajectories, of its task.

        With the penalty before normalisation, a trajectory's score in the statistics is its reward
        less the mean of what its steps lost.
        """
        groups = number_groups(tasks)
        normalised = self._normalisation(self.single_member)
        before = torch.zeros_like(lost) if self.penalty_after_normalisation else lost
        if self.over == "steps":
            advantages = normalised(scores - before, groups)
        else:
            played = number_groups(zip(tasks, trajectories, strict=True))
            compared = scores - group_means(before, played)[played]
            advantages = normalised(scores - before, groups, first_rows(played), compared)
        return advantages - (lost - before)

    def state(self, returns: Float[Tensor, " B"], groups: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """GiGPO's step advantage: each row's return against those from the same state."""
        return self._normalisation("zero")(returns, groups)

    def _normalisation(self, single_member: SingleMember) -> GroupNormalisation:
        return GroupNormalisation(self.normalise, self.deviation, single_member, self.epsilon)

    def _state_term(self, rows: Rows, lost: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        if self.state_weight == 0:
            return torch.zeros_like(lost)
        returns = discounted_returns(rows.rewards, rows.trajectories, self.gamma)
        if not self.penalty_after_normalisation:
            returns = returns - lost
        groups = state_groups(rows.tasks, rows.observations, self.state_similarity)
        return self.state_weight * self.state(returns, groups)
