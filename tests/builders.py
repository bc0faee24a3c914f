"""Small real trajectories, samples and experiences, of which a test names only what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from opid_lightning.types import (
    Action,
    Completion,
    Experience,
    Hindsight,
    Observation,
    Prompt,
    PromptText,
    Route,
    RoutedStep,
    Sample,
    ScoredStep,
    SkillLevel,
    Step,
    Task,
    TokenIds,
    Trajectory,
)


def encode(text: str) -> TokenIds:
    """A token a character, so that lengths are counted by eye."""
    return tuple(ord(character) for character in text)


def step_of(
    index: int = 0,
    action: str = "wait",
    observation: str = "A room.",
    admissible: Sequence[str] = (),
    reward: float = 0.0,
    is_valid: bool = True,
    response: str | None = None,
    text: PromptText | None = None,
) -> Step:
    text = text or PromptText("Your task.", observation, "Now act.")
    response = f"<action>{action}</action>" if response is None else response
    token_ids = encode(response)
    return Step(
        index=index,
        observation=Observation(observation, tuple(admissible)),
        prompt=Prompt(text, encode(text.text), num_dropped_turns=0),
        completion=Completion(
            request_id=f"r{index}",
            token_ids=token_ids,
            logprobs=(-1.0,) * len(token_ids),
            text=response,
            is_cut=False,
        ),
        action=Action(action, is_valid),
        reward=reward,
    )


def trajectory_of(
    *steps: Step,
    won: bool = False,
    task_id: str = "task",
    attempt: int = 0,
    kind: str = "kind",
    goal: str = "open the door",
) -> Trajectory:
    return Trajectory(Task(task_id, kind), attempt, goal, steps, won)


def sample_of(
    trajectory: Trajectory,
    deltas: Mapping[SkillLevel, Sequence[float]] | None = None,
    route: Route | None = None,
    outcome: float = 0.0,
    state: float = 0.0,
    weight: float = 1.0,
    num_tokens: int | None = None,
    index: int = 0,
) -> Sample:
    """The trajectory's step `index` as a sample; old log-probs are -1.

    `deltas` are the token deltas of each scored level. The route names those levels, unless
    given; the number of response tokens follows from the deltas, unless given.
    """
    deltas = deltas or {}
    route = route or Route(*(level if level in deltas else "" for level in ("episode", "step")))
    length = len(next(iter(deltas.values()), ())) if num_tokens is None else num_tokens
    old = torch.full((length,), -1.0)
    changes = {level: torch.tensor(values) for level, values in deltas.items()}
    prompts = {level: encode(level) for level in deltas}
    named = (("episode", route.episode_skill), ("step", route.step_skill))
    over_budget = tuple(level for level, skill in named if skill and level not in deltas)
    return Sample(
        scored=ScoredStep(
            routed=RoutedStep(trajectory, trajectory.steps[index], route, prompts, over_budget),
            old_logprobs=old,
            skill_logprobs={level: old + change for level, change in changes.items()},
        ),
        outcome_advantage=outcome,
        state_advantage=state,
        skill_advantage=weight * sum(changes.values(), torch.zeros(length)),
    )


def experience_of(
    *samples: Sample, hindsight: Hindsight | None = None, iteration: int = 0
) -> Experience:
    """The samples as one batch, with the trajectories they are of."""
    trajectories = {s.scored.routed.trajectory.id: s.scored.routed.trajectory for s in samples}
    return Experience(
        iteration=iteration,
        trajectories=tuple(trajectories.values()),
        hindsight=hindsight or Hindsight(),
        samples=samples,
        plan=((tuple(range(len(samples))),),),
        temperature=1.0,
    )
