"""Critical steps by statistics alone: the worst steps from states whose returns vary most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from opid_lightning.method.advantage import discounted_returns
from opid_lightning.method.groups import group_deviations, state_groups
from opid_lightning.types import Trajectory
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class CriticalStepsFound:
    """The chosen rows, and how many groups could have had some."""

    mask: Bool[Tensor, " B"]
    num_groups: int
    num_eligible_groups: int  # that vary enough
    variance_cutoff: float | None  # None where no group was large enough


@dataclass(frozen=True)
class CriticalSteps:
    """Picks, from states of varying outcome, the steps that deviate most from the state's mean.

    A state's group counts where it has `min_group_size` members and its variance is in the top
    `1 - variance_quantile` of such groups'.
    """

    min_group_size: int = 2  # steps that must share an observation
    # groups whose returns vary less than this quantile are left out
    variance_quantile: float = 0.75
    per_trajectory: int = 1  # steps chosen of a trajectory at most
    below_mean_only: bool = True  # choose only steps that did worse than their group

    def __post_init__(self) -> None:
        where = "callbacks.skill_extraction.statistics"
        check_range(f"{where}.min_group_size", self.min_group_size, at_least=1)
        check_range(f"{where}.variance_quantile", self.variance_quantile, at_least=0, at_most=1)
        check_range(f"{where}.per_trajectory", self.per_trajectory, at_least=0)

    def __call__(
        self,
        returns: Float[Tensor, " B"],
        groups: Int[Tensor, " B"],
        trajectories: Sequence[Hashable],
    ) -> CriticalStepsFound:
        """The critical rows among those with these returns.

        Equal `groups` saw equal observations.
        """
        mask = torch.zeros_like(groups, dtype=torch.bool)
        if self.per_trajectory == 0:
            return CriticalStepsFound(mask, 0, 0, None)
        sizes, means, deviations = group_deviations(returns.double(), groups, "population")
        variances, is_large = deviations.square(), sizes >= self.min_group_size
        if not is_large.any():
            return CriticalStepsFound(mask, len(sizes), 0, None)
        cutoff = variances[is_large].quantile(self.variance_quantile)
        # A cutoff that is one group's own variance must not lose that group to rounding.
        is_eligible = is_large & (variances > 0) & (variances >= cutoff * (1 - 1e-9))
        distances = returns.double() - means[groups]
        is_candidate = is_eligible[groups] & ((distances < 0) | (not self.below_mean_only))
        mask[self._worst(distances.abs(), is_candidate, trajectories)] = True
        return CriticalStepsFound(mask, len(sizes), int(is_eligible.sum()), cutoff.item())

    def _worst(
        self,
        distances: Float[Tensor, " B"],
        is_candidate: Bool[Tensor, " B"],
        trajectories: Sequence[Hashable],
    ) -> list[int]:
        """The rows of largest distance in each trajectory; of equal ones the earlier."""
        candidates: dict[Hashable, list[int]] = defaultdict(list)
        for row in is_candidate.nonzero().flatten().tolist():
            candidates[trajectories[row]].append(row)
        sizes = distances.tolist()
        return [
            row
            for rows in candidates.values()
            for row in sorted(rows, key=lambda row: -sizes[row])[: self.per_trajectory]
        ]


def statistically_critical(
    trajectories: Sequence[Trajectory], gamma: float, settings: CriticalSteps
) -> Mapping[str, tuple[int, ...]]:
    """The critical steps of every trajectory, by its id, in the order played.

    Steps of one task with the same observation are one state (GiGPO's groups); what they are
    compared by is the discounted return of the environment's rewards.
    """
    rows = [(trajectory, step) for trajectory in trajectories for step in trajectory.steps]
    ids = [trajectory.id for trajectory, _ in rows]
    rewards = torch.tensor([step.reward for _, step in rows], dtype=torch.float64)
    states = state_groups(
        [trajectory.task.id for trajectory, _ in rows],
        [step.observation.text for _, step in rows],
    )
    found = settings(discounted_returns(rewards, ids, gamma), states, ids)
    critical: dict[str, list[int]] = {trajectory.id: [] for trajectory in trajectories}
    for row in found.mask.nonzero().flatten().tolist():
        critical[ids[row]].append(rows[row][1].index)
    return {id: tuple(steps) for id, steps in critical.items()}
