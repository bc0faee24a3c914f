"""The steps of an iteration as columns, one entry a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.types import ScoredStep, SkillLevel


@dataclass(frozen=True)
class Rows:
    steps: Sequence[ScoredStep]

    @property
    def tasks(self) -> list[str]:
        return [step.routed.trajectory.task.id for step in self.steps]

    @property
    def trajectories(self) -> list[str]:
        return [step.routed.trajectory.id for step in self.steps]

    @property
    def observations(self) -> list[str]:
        return [step.routed.step.observation.text for step in self.steps]

    @property
    def rewards(self) -> Float[Tensor, " B"]:
        return torch.tensor([s.routed.step.reward for s in self.steps], dtype=torch.float64)

    @property
    def is_valid(self) -> Float[Tensor, " B"]:
        valid = [step.routed.step.action.is_valid for step in self.steps]
        return torch.tensor(valid, dtype=torch.float64)

    @property
    def episode_rewards(self) -> Float[Tensor, " B"]:
        """The trajectory's reward, on each of its rows."""
        trajectories = {s.routed.trajectory.id: s.routed.trajectory for s in self.steps}
        rewards = {id: trajectory.reward for id, trajectory in trajectories.items()}
        return torch.tensor([rewards[id] for id in self.trajectories], dtype=torch.float64)

    @property
    def episode_lengths(self) -> Float[Tensor, " B"]:
        lengths = [len(step.routed.trajectory.steps) for step in self.steps]
        return torch.tensor(lengths, dtype=torch.float64)

    @property
    def response_lengths(self) -> list[int]:
        return [step.old_logprobs.numel() for step in self.steps]

    def scored_with(self, level: SkillLevel) -> list[int]:
        """The rows whose response was scored with a skill of this level."""
        return [row for row, step in enumerate(self.steps) if level in step.skill_logprobs]

    @property
    def of_scored_trajectories(self) -> list[int]:
        """The rows of trajectories of which some response was scored with a skill."""
        ids = self.trajectories
        scored = {id for id, step in zip(ids, self.steps, strict=True) if step.skill_logprobs}
        return [row for row, id in enumerate(ids) if id in scored]
