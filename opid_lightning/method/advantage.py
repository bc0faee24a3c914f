"""The advantage of every step by its outcome, and by its state (GRPO, GiGPO)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from opid_lightning.method.groups import (
    Deviation,
    first_rows,
    group_deviations,
    group_means,
    number_groups,
    state_groups,
)
from opid_lightning.method.rows import Rows
from opid_lightning.protocols import GAMMA
from opid_lightning.types import RowAdvantages, ScoredStep
from opid_lightning.value_checks import check_range, check_words


def discounted_returns(
    rewards: Float[Tensor, " B"], trajectories: Sequence[Hashable], gamma: float
) -> Float[Tensor, " B"]:
    """`G_t = r_t + gamma * G_{t+1}` along each trajectory, whose rows stand in playing order.

    Rows of different trajectories may be mixed. All trajectories are walked backwards at once,
    so the number of tensor operations is the length of the longest.
    """
    returns = rewards.clone()
    for rows, next_rows in _layers(trajectories):
        returns[rows] = rewards[rows] + gamma * returns[next_rows]
    return returns


def _layers(trajectories: Sequence[Hashable]) -> list[tuple[list[int], list[int]]]:
    """Rows by the number of steps after them, from 1 on, each beside the row that follows."""
    next_row: dict[Hashable, int] = {}
    depth: dict[Hashable, int] = {}
    layers: list[tuple[list[int], list[int]]] = []
    for row in range(len(trajectories) - 1, -1, -1):
        trajectory = trajectories[row]
        if trajectory in next_row:
            depth[trajectory] = depth.get(trajectory, -1) + 1
            if depth[trajectory] == len(layers):
                layers.append(([], []))
            layers[depth[trajectory]][0].append(row)
            layers[depth[trajectory]][1].append(next_row[trajectory])
        next_row[trajectory] = row
    return layers


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
