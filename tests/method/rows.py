"""Scored steps of which a test names only what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from opid_lightning.method.advantage import Advantage
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.method.rules.rule import Rule
from opid_lightning.types import (
    Route,
    RoutedStep,
    Sample,
    ScoredStep,
    SkillLevel,
    Trajectory,
)
from tests.builders import step_of, trajectory_of


def played(
    reward: float,
    num_steps: int = 1,
    task: str = "task",
    attempt: int = 0,
    invalid: Sequence[int] = (),
    observations: Sequence[str] | None = None,
) -> Trajectory:
    """A trajectory that earns its reward with its last step."""
    seen = observations or [f"room {index}" for index in range(num_steps)]
    steps = [
        step_of(
            index=index,
            observation=seen[index],
            reward=reward if index == num_steps - 1 else 0.0,
            is_valid=index not in invalid,
        )
        for index in range(num_steps)
    ]
    return trajectory_of(*steps, task_id=task, attempt=attempt)


def scored(
    trajectory: Trajectory,
    index: int = 0,
    old: Sequence[float] = (-1.0, -1.0),
    prompt: Sequence[int] = (1, 2),
    reference: Sequence[float] | None = None,
    **skills: Sequence[float],
) -> ScoredStep:
    """Step `index`, with `episode=` and `step=` log-probs of its response; token ids are 10 up."""
    step = trajectory.steps[index]
    step = replace(
        step,
        prompt=replace(step.prompt, token_ids=tuple(prompt)),
        completion=replace(
            step.completion,
            token_ids=tuple(range(10, 10 + len(old))),
            logprobs=tuple(x - 0.5 for x in old),
        ),
    )
    contexts: Mapping[SkillLevel, torch.Tensor] = {
        level: torch.tensor(logprobs) for level, logprobs in skills.items()
    }
    return ScoredStep(
        routed=RoutedStep(trajectory, step, Route(), dict.fromkeys(contexts, (1,))),
        old_logprobs=torch.tensor(old),
        skill_logprobs=contexts,
        reference_logprobs=None if reference is None else torch.tensor(reference),
    )


def all_steps(*trajectories: Trajectory) -> list[ScoredStep]:
    return [scored(t, index) for t in trajectories for index in range(len(t.steps))]


def credited(
    steps: Sequence[ScoredStep],
    rule: Rule = Additive(),
    advantage: Advantage = Advantage(),
    iteration: int = 0,
    **settings: Any,
) -> tuple[Sample, ...]:
    """Samples of the steps; `settings` are the method's."""
    return Method(rule, **settings)(steps, advantage(steps), iteration)
