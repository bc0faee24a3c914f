"""Plays tasks x attempts: every environment runs at its own pace, finished ones cost nothing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from opid_lightning.gate import gate_of
from opid_lightning.protocols import (
    SILENT,
    Environment,
    Generation,
    IterationObserver,
    SessionLostError,
)
from opid_lightning.rollout.attempts import Play
from opid_lightning.rollout.prompt_fitting import PromptFitting
from opid_lightning.rollout.sessions import SessionPool, threads_for
from opid_lightning.types import (
    Observation,
    Prompt,
    PromptText,
    Task,
    TokenIds,
    Trajectory,
    Turn,
)
from opid_lightning.value_checks import check_range, check_temperature


@dataclass(frozen=True)
class Rollout:
    """Plays every task `group_size` times with the policy that `generation` serves.

    Lengths are in tokens of the policy's tokenizer. The group size of 8 is the paper's. Raises
    ValueError for a setting out of range.
    """

    group_size: int = 8  # attempts at each task
    max_prompt_tokens: int = 2048  # longest prompt, skill included
    skill_tokens: int = 256  # the part of max_prompt_tokens that is kept free for the skill
    max_response_tokens: int = 512  # longest response
    temperature: float = 1.0  # sampling temperature in training
    stop: tuple[str, ...] = ()  # texts that end a response, besides the end of the turn
    max_concurrent: int = 64  # sessions that are live at the same time
    # Of a rollout's attempts, how many may lose their sessions before the run stops. A single one
    # never stops it, unless this is 0.
    max_lost_share: float = 0.25

    def __post_init__(self) -> None:
        for name in ("group_size", "max_prompt_tokens", "max_response_tokens", "max_concurrent"):
            check_range(f"rollout.{name}", getattr(self, name), at_least=1)
        check_range("rollout.skill_tokens", self.skill_tokens, at_least=0)
        if self.skill_tokens >= self.max_prompt_tokens:
            raise ValueError(
                f"rollout.skill_tokens is {self.skill_tokens}; expected less than "
                f"rollout.max_prompt_tokens, which is {self.max_prompt_tokens}"
            )
        # 0 is for greedy evaluation; the data module refuses it in training.
        check_temperature("rollout.temperature", self.temperature)
        check_range("rollout.max_lost_share", self.max_lost_share, at_least=0, at_most=1)
        if not all(self.stop):
            raise ValueError(f"rollout.stop is {list(self.stop)}: a blank text would end nothing")

    def __call__(
        self,
        sessions: SessionPool,
        tasks: Sequence[Task],
        generation: Generation,
        encode: Callable[[str], TokenIds],
        seed: int,
        observer: IterationObserver = SILENT,
    ) -> tuple[Trajectory, ...]:
        """The trajectories in the order (task, attempt), whichever ended first.

        Attempts whose sessions were lost are among them, as far as they came.
        """
        _check_distinct(tasks)
        attempts = [(task, attempt) for task in tasks for attempt in range(self.group_size)]
        observer.on_stage_start("rollout", len(attempts))
        waiting = deque(attempts)
        with threads_for(sessions.environment) as threads:
            play = Play(self, sessions, generation, encode, seed, observer, threads, len(attempts))
            while waiting or play.num_live:
                while waiting and play.num_live < self.max_concurrent:
                    play.start(*waiting.popleft())
                play.advance()
        observer.on_stage_end("rollout", play.num_tokens)
        return tuple(play.ended[task.id, attempt] for task, attempt in attempts)

    def check_losses(self, lost: Sequence[SessionLostError], num_attempts: int) -> None:
        """Raises where so many sessions were lost that the fault is not in single games."""
        allowed = max(self.max_lost_share * num_attempts, 1) if self.max_lost_share else 0
        if len(lost) > allowed or len(lost) == num_attempts > 1:
            raise ValueError(
                f"{len(lost)} of {num_attempts} attempts lost their sessions, where "
                f"rollout.max_lost_share={self.max_lost_share:g} allows no more than "
                f"{min(int(allowed), num_attempts - 1)}. The last one: {lost[-1]}. Fix the "
                "environment, give it more time (workers.step_timeout_s, workers.reset_timeout_s) "
                "or raise rollout.max_lost_share"
            ) from lost[-1]

    def prompt(
        self,
        environment: Environment,
        encode: Callable[[str], TokenIds],
        goal: str,
        history: Sequence[Turn],
        observation: Observation,
    ) -> Prompt:
        """With what fits of history and observation, and room left for the skill.

        Raises ValueError where the rest of the prompt does not fit.
        """
        budget = self.max_prompt_tokens - self.skill_tokens
        gate, step = gate_of(environment), len(history)

        def write(turns: Sequence[Turn], now: Observation) -> PromptText:
            with gate.calling(f"prompt() at step {step} of {goal!r}"):
                answer = environment.prompt(goal, turns, now)
            return gate.prompt(answer, goal, step)

        prompt = PromptFitting(write, encode, budget)(history, observation)
        if prompt is not None:
            return prompt
        num_tokens = len(encode(write((), Observation("")).text))
        raise ValueError(
            f"step {step} of {goal!r} needs a prompt of {num_tokens} tokens without any history "
            f"or observation, but {budget} are given: rollout.max_prompt_tokens="
            f"{self.max_prompt_tokens} less rollout.skill_tokens={self.skill_tokens}, kept free "
            "for the skill. Raise one or lower the other"
        )


def in_order(
    parts: Iterable[Iterable[Trajectory]], tasks: Sequence[Task]
) -> tuple[Trajectory, ...]:
    """What several ranks played of these tasks, as one of them would have played it."""
    places = {task.id: place for place, task in enumerate(tasks)}
    played = [trajectory for part in parts for trajectory in part]
    return tuple(sorted(played, key=lambda t: (places[t.task.id], t.attempt)))


def _check_distinct(tasks: Sequence[Task]) -> None:
    repeated = [task_id for task_id, count in Counter(t.id for t in tasks).items() if count > 1]
    if repeated:
        raise ValueError(
            f"task ids are not distinct: {repeated[:3]} repeat. A group is all attempts at one "
            "task: raise rollout.group_size to attempt it more often"
        )


def group_by_task(trajectories: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    """The attempts at each task, `G_q` in the paper, in the order played."""
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.task.id, []).append(trajectory)
    return groups
