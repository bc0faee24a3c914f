"""Hindsight in demonstrations, as a policy meets it when it is re-scored: it learns to read it."""

from __future__ import annotations

import random

from opid_lightning.hindsight.analysts.rules import EPISODE_RULES, STEP_RULES, Rules, quoted
from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Prompt,
    PromptText,
    Step,
    Task,
    Trajectory,
)

CONFIRMATIONS = (
    "Choose {action} now, as it opens up new possibilities.",
    "Choose {action} now, as it is what the task rewards.",
)
ALL_ADVICE = (*EPISODE_RULES.values(), *STEP_RULES.values(), *CONFIRMATIONS)


def episode_advice(task: Task, steps: tuple[Step, ...]) -> str:
    """The episode skill that the analyst `rules` writes about these very steps."""
    episode = Trajectory(task, 0, "", steps, steps[-1].reward > 0)
    skills = Rules()(episode, range(len(steps))).skills
    assert skills is not None  # an episode has steps
    return skills.episode_skill


def step_advice(
    command: str, other: str, unasked_share: float, rng: random.Random
) -> tuple[str, str]:
    """A step skill, and the command that it asks for: `other` where it goes against the expert."""
    if rng.random() < unasked_share:
        return rng.choice(CONFIRMATIONS).format(action=quoted(other)), other
    if rng.random() < 0.5:
        return rng.choice(CONFIRMATIONS).format(action=quoted(command)), command
    rule = rng.choice([STEP_RULES[fault] for fault in ("no_effect", "repeated", "returned")])
    return rule.format(action=quoted(other), instead=f"try {quoted(command)}"), command


def step_of(
    index: int, observation: Observation, text: PromptText, command: str, after: Observation
) -> Step:
    """A step as the analyst reads it, without tokens."""
    return Step(
        index=index,
        observation=observation,
        prompt=Prompt(text, (), 0),
        completion=Completion(f"expert@{index}", (), (), "", is_cut=False),
        action=Action(command, is_valid=True),
        reward=after.reward,
    )
