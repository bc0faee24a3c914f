"""Injection: the prompts in which hindsight skills are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from opid_lightning.types import (
    PromptText,
    Route,
    RoutedStep,
    SkillLevel,
    Step,
    TokenIds,
    Trajectory,
)


@dataclass(frozen=True)
class Injection:
    """Writes each skill of a route into the step's prompt, in a prompt of its own.

        plain      task                  situation                  request
        episode    task, episode skill   situation                  request
        step       task                  situation, step skill      request

    The place is a part of `PromptText`, never a phrase that is searched for, so whatever a
    skill or an observation says cannot move it. The response is not touched.

    A skill prompt longer than `max_prompt_tokens` is not truncated: its level is left out of
    `skill_prompt_ids`, though the route names it, and so is not scored. RoutingStatistics counts
    such rows as `routing/over_budget`.
    """

    max_prompt_tokens: int = 2048

    def __post_init__(self) -> None:
        if self.max_prompt_tokens < 1:
            raise ValueError(
                f"Injection.max_prompt_tokens is {self.max_prompt_tokens}; expected 1 or more."
            )

    def __call__(
        self, trajectory: Trajectory, step: Step, route: Route, encode: Callable[[str], TokenIds]
    ) -> RoutedStep:
        prompts: dict[SkillLevel, PromptText] = {}
        if route.episode_skill:
            prompts["episode"] = with_episode_skill(step.prompt.text, route.episode_skill)
        if route.step_skill:
            prompts["step"] = with_step_skill(step.prompt.text, route.step_skill)
        token_ids = {level: encode(prompt.text) for level, prompt in prompts.items()}
        fitting = {
            level: ids for level, ids in token_ids.items() if len(ids) <= self.max_prompt_tokens
        }
        return RoutedStep(trajectory, step, route, skill_prompt_ids=fitting)


def with_episode_skill(prompt: PromptText, skill: str) -> PromptText:
    section = f"Advice for this task, learned from an earlier attempt:\n{skill.strip()}"
    return dataclasses.replace(prompt, task=paragraphs(prompt.task, section))


def with_step_skill(prompt: PromptText, skill: str) -> PromptText:
    section = f"Advice for this very moment:\n{skill.strip()}"
    return dataclasses.replace(prompt, request=paragraphs(section, prompt.request))


def paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
