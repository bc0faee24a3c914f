"""Plays tasks x attempts: every environment runs at its own pace, finished ones cost nothing."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opid_lightning.protocols import Environment, Generation, Listener, Session
from opid_lightning.types import (
    Completion,
    Observation,
    Prompt,
    SampleRequest,
    Step,
    Task,
    TokenIds,
    Trajectory,
    Turn,
)


class SessionPool:
    """Live sessions of one environment, reused from task to task: opening one is expensive."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._idle: list[Session] = []

    def take(self) -> Session:
        return self._idle.pop() if self._idle else self.environment.open()

    def give_back(self, session: Session) -> None:
        self._idle.append(session)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


@dataclass
class _Episode:
    """An attempt while it is played."""

    task: Task
    attempt: int
    session: Session
    goal: str
    observation: Observation
    steps: list[Step] = field(default_factory=list)
    prompt: Prompt | None = None  # of the request that is out

    @property
    def history(self) -> tuple[Turn, ...]:
        return tuple(Turn(step.observation, step.action) for step in self.steps)

    def finished(self) -> Trajectory:
        return Trajectory(
            self.task, self.attempt, self.goal, tuple(self.steps), self.observation.won
        )


@dataclass(frozen=True)
class Rollout:
    """Plays every task `group_size` times with the policy that `generation` serves."""

    group_size: int = 8
    max_prompt_tokens: int = 2048  # of a prompt with its skill
    skill_tokens: int = 256  # of those, kept free for the skill
    max_response_tokens: int = 512
    temperature: float = 1.0
    max_concurrent: int = 64  # live sessions

    def __post_init__(self) -> None:
        for name in ("group_size", "max_prompt_tokens", "max_response_tokens", "max_concurrent"):
            if getattr(self, name) < 1:
                raise ValueError(f"rollout.{name} is {getattr(self, name)}, expected at least 1")
        if not 0 <= self.skill_tokens < self.max_prompt_tokens:
            raise ValueError(
                f"rollout.skill_tokens is {self.skill_tokens}, expected at least 0 and less than "
                f"rollout.max_prompt_tokens, which is {self.max_prompt_tokens}"
            )
        if self.temperature < 0:
            raise ValueError(f"rollout.temperature is {self.temperature}, expected at least 0")

    def __call__(
        self,
        sessions: SessionPool,
        tasks: Sequence[Task],
        generation: Generation,
        encode: Callable[[str], TokenIds],
        seed: int,
        listener: Listener,
    ) -> tuple[Trajectory, ...]:
        """The trajectories in the order (task, attempt), whichever ended first."""
        raise NotImplementedError
