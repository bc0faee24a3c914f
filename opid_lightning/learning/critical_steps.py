"""Critical steps by statistics alone: states whose returns vary most, and the worst steps there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from opid_lightning.learning.groups import group_deviations


@dataclass(frozen=True)
class CriticalStepsFound:
    mask: Bool[Tensor, " B"]
    num_groups: int
    num_eligible_groups: int  # that vary enough
    variance_cutoff: float | None  # None where no group was large enough


@dataclass(frozen=True)
class CriticalSteps:
    """Picks the steps, among those from a state of varying outcome, that turned out worst."""

    min_group_size: int = 2
    variance_quantile: float = 0.75  # of the variances of the groups that are large enough
    per_trajectory: int = 1  # at most so many steps of a trajectory
    below_mean_only: bool = True

    def __call__(
        self,
        returns: Float[Tensor, " B"],
        groups: Int[Tensor, " B"],
        trajectories: Sequence[Hashable],
    ) -> CriticalStepsFound:
        sizes, means, deviations = group_deviations(returns.double(), groups, "population")
        variances = deviations.square()
        return CriticalStepsFound(torch.zeros_like(groups, dtype=torch.bool), len(sizes), 0, None)
