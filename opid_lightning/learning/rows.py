"""The steps of an iteration as columns, one entry a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
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
    def response_lengths(self) -> Int[Tensor, " B"]:
        return torch.tensor([len(step.old_logprobs) for step in self.steps], dtype=torch.long)

    @property
    def old_logprobs(self) -> Float[Tensor, " N"]:
        """Of all response tokens of all rows, one row after the other."""
        return torch.cat([torch.empty(0), *(step.old_logprobs for step in self.steps)])

    def skill_logprobs(self, level: SkillLevel) -> Float[Tensor, " N"]:
        """The old log-probs where no skill of this level was scored."""
        scored = (step.skill_logprobs.get(level, step.old_logprobs) for step in self.steps)
        return torch.cat([torch.empty(0), *scored])

    def is_scored(self, level: SkillLevel) -> Float[Tensor, " N"]:
        """1 on the tokens of rows that were scored with a skill of this level."""
        scored = torch.tensor([level in step.skill_logprobs for step in self.steps])
        return scored.float().repeat_interleave(self.response_lengths)
