"""An attempt at a task while it is played."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from opid_lightning.protocols import Session
from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Opening,
    Prompt,
    Step,
    Task,
    Trajectory,
    Turn,
)

NOTHING_YET = Observation("")


@dataclass
class Episode:
    """Begins when its session has been reset, and grows by a step at a time."""

    task: Task
    attempt: int
    session: Session
    goal: str = ""
    observation: Observation = NOTHING_YET  # what is seen now
    steps: list[Step] = field(default_factory=list)

    @property
    def next_id(self) -> str:
        """Of the request for its next response."""
        return f"{self.task.id}#{self.attempt}@{len(self.steps)}"

    @property
    def history(self) -> tuple[Turn, ...]:
        return tuple(Turn(step.observation, step.action) for step in self.steps)

    def begin(self, opening: Opening) -> None:
        self.goal, self.observation = opening.goal, opening.observation

    def add(
        self, prompt: Prompt, completion: Completion, action: Action, after: Observation
    ) -> None:
        """The step that led from what was seen to what is seen `after`."""
        self.steps.append(
            Step(len(self.steps), self.observation, prompt, completion, action, after.reward)
        )
        self.observation = after

    def next_seed(self, seed: int) -> int:
        """Of its next response; the same in every process and order of play, unlike hash()."""
        key = f"{seed}/{self.task.id}/{self.attempt}/{len(self.steps)}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1

    def trajectory(self) -> Trajectory:
        return Trajectory(
            self.task, self.attempt, self.goal, tuple(self.steps), self.observation.won
        )

    def lost(self, reason: str) -> Trajectory:
        """What there was of it when its session was lost."""
        steps = tuple(self.steps)
        return Trajectory(self.task, self.attempt, self.goal, steps, False, session_lost=reason)
