"""Recorded rows of the reference as this project's scored steps, and columns of them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Prompt,
    PromptText,
    Route,
    RoutedStep,
    ScoredStep,
    SkillLevel,
    Step,
    Task,
    Trajectory,
)

Teachers = Mapping[SkillLevel, tuple[Tensor, Tensor]]  # log-probs; which tokens they count for


def scored_rows(inputs: Mapping[str, Any], teachers: Teachers) -> list[ScoredStep]:
    """One scored step a recorded row, with the tokens that its mask keeps.

    Every row is a trajectory of its own: recorded rows of one trajectory may have different
    scores, and where every step counts in the statistics it does not matter whose it is.
    """
    is_token = inputs["response_mask"].bool()
    old = inputs.get("old_log_prob")
    old = torch.zeros(is_token.shape) if old is None else old
    check_shapes(is_token, old, teachers, bool(inputs.get("normalize_teacher_adv")))
    scores = inputs["token_level_rewards"].sum(dim=-1).tolist()
    rewards = inputs.get("step_rewards")
    rewards = [0.0] * len(scores) if rewards is None else rewards.tolist()
    return [
        scored_row(
            trajectory_of(row, inputs, rewards[row], scores[row]),
            old[row][is_token[row]],
            skills_of(row, is_token[row], old, teachers),
        )
        for row in range(len(scores))
    ]


def check_shapes(is_token: Tensor, old: Tensor, teachers: Teachers, normalised: bool) -> None:
    for logprobs, mask in teachers.values():
        if logprobs.shape != old.shape:
            raise ValueError(f"log-probs {tuple(logprobs.shape)}, old ones {tuple(old.shape)}")
        selected, valid = (mask.bool() & is_token).sum(dim=1), is_token.sum(dim=1)
        is_partly = (selected > 0) & (selected < valid)
        if normalised and is_partly.any():
            raise ValueError("a skill of ours scores whole responses: parts are not normalised")


def trajectory_of(row: int, inputs: Mapping[str, Any], reward: float, score: float) -> Trajectory:
    """Its first step is the row; the second, which is not trained on, fills its reward up."""
    step = step_of(0, inputs["anchor_obs"][row], reward)
    rest = step_of(1, "", score - reward)
    return Trajectory(Task(inputs["index"][row], "recorded"), row, "", (step, rest), won=False)


def step_of(index: int, observation: Any, reward: float) -> Step:
    return Step(
        index=index,
        observation=Observation(observation),
        prompt=Prompt(PromptText("", "", ""), (), 0),
        completion=Completion("", (), (), "", is_cut=False),
        action=Action("", is_valid=True),
        reward=reward,
    )


def skills_of(
    row: int, is_token: Tensor, old: Tensor, teachers: Teachers
) -> dict[SkillLevel, Tensor]:
    """Of the levels that count for any token of the row; where one does not, it moves nothing."""
    return {
        level: torch.where(mask[row].bool(), logprobs[row], old[row])[is_token]
        for level, (logprobs, mask) in teachers.items()
        if (mask[row].bool() & is_token).any()
    }


def scored_row(
    trajectory: Trajectory, old: Tensor, skills: Mapping[SkillLevel, Tensor]
) -> ScoredStep:
    routed = RoutedStep(trajectory, trajectory.steps[0], Route(), dict.fromkeys(skills, ()))
    return ScoredStep(routed, old, skills)


def placed(columns: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Values of response tokens where the reference has them; 0 elsewhere."""
    values = torch.zeros(mask.shape, dtype=torch.cat([*columns]).dtype)
    values[mask.bool()] = torch.cat([*columns])
    return values
