"""The steps of an iteration as columns, and the check that names the row that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.types import ScoredStep, SkillLevel


@dataclass(frozen=True)
class Rows:
    """Scored steps, one row each; tensors are float64 of shape `[B]`."""

    steps: Sequence[ScoredStep]

    @property
    def tasks(self) -> list[str]:
        """The task of each row: attempts at one task are a group."""
        return [step.routed.trajectory.task.id for step in self.steps]

    @property
    def trajectories(self) -> list[str]:
        """The trajectory of each row."""
        return [step.routed.trajectory.id for step in self.steps]

    @property
    def observations(self) -> list[str]:
        """What was seen before each action, by which states are compared."""
        return [step.routed.step.observation.text for step in self.steps]

    @property
    def rewards(self) -> Float[Tensor, " B"]:
        """What each step's action earned."""
        return torch.tensor([s.routed.step.reward for s in self.steps], dtype=torch.float64)

    @property
    def is_valid(self) -> Float[Tensor, " B"]:
        """1 where the response was well-formed, else 0."""
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
        """Steps of each row's trajectory."""
        lengths = [len(step.routed.trajectory.steps) for step in self.steps]
        return torch.tensor(lengths, dtype=torch.float64)

    @property
    def response_lengths(self) -> list[int]:
        """Response tokens of each row."""
        return [step.old_logprobs.numel() for step in self.steps]

    def scored_with(self, level: SkillLevel) -> list[int]:
        """The rows whose response was scored with a skill of this level."""
        return [row for row, step in enumerate(self.steps) if level in step.skill_logprobs]


ROWS_AT_A_TIME = 256  # large enough to be quick, small enough for the processor's cache


def check_logprobs(steps: Sequence[ScoredStep]) -> None:
    """Raises, naming the row and the context, where a log-prob is NaN or infinite."""
    for start in range(0, len(steps), ROWS_AT_A_TIME):
        chosen = steps[start : start + ROWS_AT_A_TIME]
        everything = [logprobs for step in chosen for _, logprobs in _contexts(step)]
        # Finite numbers of float32 have a finite sum in float64.
        if not torch.cat(everything).sum(dtype=torch.float64).isfinite():
            _find_not_finite(chosen)


def _find_not_finite(steps: Sequence[ScoredStep]) -> None:
    for step in steps:
        for context, logprobs in _contexts(step):
            if not logprobs.isfinite().all():
                _raise_not_finite(step, context, logprobs)


def _contexts(step: ScoredStep) -> Iterator[tuple[str, Float[Tensor, " R"]]]:
    yield "plain", step.old_logprobs
    for level, logprobs in step.skill_logprobs.items():
        assert logprobs.shape == step.old_logprobs.shape, f"{level}: wrong number of log-probs"
        yield f"{level} skill", logprobs
    if step.reference_logprobs is not None:
        yield "reference", step.reference_logprobs


def _raise_not_finite(step: ScoredStep, context: str, logprobs: Float[Tensor, " R"]) -> None:
    position = int((~logprobs.isfinite()).nonzero()[0])
    raise ValueError(
        f"log-prob {logprobs[position].item()} of response token {position} of "
        f"{step.routed.trajectory.id}, step {step.routed.step.index}, under the {context} "
        "context; expected finite numbers. Training has diverged or the precision overflows: go "
        "back to the last checkpoint with a lower learning rate, or use a wider precision"
    )
