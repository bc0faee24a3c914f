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
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class Injection:
    """Writes each skill of a route into the step's prompt, in a prompt of its own.

        plain      task                  situation                  request
        episode    task, episode skill   situation                  request
        step       task                  situation, step skill      request

    The place is a part of `PromptText`, never a phrase that is searched for, so whatever a
    skill or an observation says cannot move it. The response is not touched.

    A subclass may write them elsewhere. A skill prompt longer than `max_prompt_tokens` is not
    truncated: its level is named in `over_budget` and not scored. A step skill that does not fit
    gives way to the route's fallback. RoutingStatistics counts such rows as `routing/over_budget`.
    """

    # longest prompt with a skill; null: rollout.max_prompt_tokens
    max_prompt_tokens: int | None = None

    def __post_init__(self) -> None:
        name, length = "injection.max_prompt_tokens", self.max_prompt_tokens
        check_range(name, length, at_least=1, or_null=True)

    def with_episode_skill(self, prompt: PromptText, skill: str) -> PromptText:
        """The prompt with the skill behind the task. Override to write it elsewhere."""
        return with_episode_skill(prompt, skill)

    def with_step_skill(self, prompt: PromptText, skill: str) -> PromptText:
        """The prompt with the skill before the request. Override to write it elsewhere."""
        return with_step_skill(prompt, skill)

    def __call__(
        self, trajectory: Trajectory, step: Step, route: Route, encode: Callable[[str], TokenIds]
    ) -> RoutedStep:
        """The step with the token ids of each skill prompt that fits; `encode` maps text to ids."""
        prompts = self.prompts_of(step.prompt.text, route)
        token_ids = {level: encode(prompt.text) for level, prompt in prompts.items()}
        fitting = {level: ids for level, ids in token_ids.items() if self.fits(ids)}
        if "step" in token_ids and "step" not in fitting and route.fallback_skill:
            fallback = encode(self.with_episode_skill(step.prompt.text, route.fallback_skill).text)
            fitting |= {"episode": fallback} if self.fits(fallback) else {}
        over_budget = tuple(level for level in token_ids if level not in fitting)
        return RoutedStep(trajectory, step, route, fitting, over_budget)

    def fits(self, prompt: TokenIds) -> bool:
        """Whether a prompt of these tokens is within `max_prompt_tokens`."""
        return self.max_prompt_tokens is None or len(prompt) <= self.max_prompt_tokens

    def prompts_of(self, plain: PromptText, route: Route) -> dict[SkillLevel, PromptText]:
        """The prompt of each level that the route names."""
        prompts: dict[SkillLevel, PromptText] = {}
        if route.episode_skill:
            prompts["episode"] = self.with_episode_skill(plain, route.episode_skill)
        if route.step_skill:
            prompts["step"] = self.with_step_skill(plain, route.step_skill)
        return prompts


def with_episode_skill(prompt: PromptText, skill: str) -> PromptText:
    """The skill under its heading, at the end of `task`."""
    section = f"Advice for this task, learned from an earlier attempt:\n{skill.strip()}"
    return dataclasses.replace(prompt, task=paragraphs(prompt.task, section))


def with_step_skill(prompt: PromptText, skill: str) -> PromptText:
    """The skill under its heading, at the start of `request`."""
    section = f"Advice for this very moment:\n{skill.strip()}"
    return dataclasses.replace(prompt, request=paragraphs(section, prompt.request))


def paragraphs(*parts: str) -> str:
    """The parts that are not blank, with an empty line between them."""
    return "\n\n".join(part for part in parts if part)
