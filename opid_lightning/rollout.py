"""Plays tasks x attempts: every environment runs at its own pace, finished ones cost nothing."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from opid_lightning.protocols import Environment, Generation, Listener, Session
from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Prompt,
    PromptText,
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
        self._open: list[Session] = []
        self._idle: list[Session] = []

    def take(self) -> Session:
        if not self._idle:
            self._idle.append(self.environment.open())
            self._open.append(self._idle[-1])
        return self._idle.pop()

    def give_back(self, session: Session) -> None:
        self._idle.append(session)

    def close(self) -> None:
        """Closes all, also those that a rollout which failed never gave back."""
        self._idle.clear()
        while self._open:
            self._open.pop().close()


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
        _check_distinct(tasks)
        waiting = deque((task, attempt) for task in tasks for attempt in range(self.group_size))
        listener.on_stage_start("rollout", len(waiting))
        play = _Play(self, sessions, generation, encode, seed, listener)
        while waiting or play.asked:
            while waiting and len(play.asked) < self.max_concurrent:
                play.start(*waiting.popleft())
            if play.asked:
                for completion in generation.collect():
                    play.advance(completion)
        listener.on_stage_end("rollout", play.num_tokens)
        return tuple(
            play.ended[task.id, attempt] for task in tasks for attempt in range(self.group_size)
        )

    def prompt(
        self,
        environment: Environment,
        encode: Callable[[str], TokenIds],
        goal: str,
        history: Sequence[Turn],
        observation: Observation,
    ) -> Prompt:
        """With the newest history that fits, and room left for the skill, so that it is never cut.

        Raises ValueError where the prompt does not fit even without history.
        """
        budget = self.max_prompt_tokens - self.skill_tokens
        for num_dropped, text in enumerate(_shortened(environment, goal, history, observation)):
            token_ids = encode(text.text)
            if len(token_ids) <= budget:
                return Prompt(text, token_ids, num_dropped)
        raise ValueError(
            f"step {len(history)} of {goal!r} needs a prompt of {len(token_ids)} tokens without "
            f"any history, but {budget} are given: rollout.max_prompt_tokens="
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


@dataclass
class _Episode:
    """An attempt while it is played."""

    task: Task
    attempt: int
    session: Session
    goal: str
    observation: Observation
    steps: list[Step] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"{self.task.id}#{self.attempt}"

    @property
    def history(self) -> tuple[Turn, ...]:
        return tuple(Turn(step.observation, step.action) for step in self.steps)

    def play(self, prompt: Prompt, completion: Completion, action: Action) -> None:
        after = self.session.step(action.text)
        self.steps.append(
            Step(len(self.steps), self.observation, prompt, completion, action, after.reward)
        )
        self.observation = after

    def trajectory(self) -> Trajectory:
        return Trajectory(
            self.task, self.attempt, self.goal, tuple(self.steps), self.observation.won
        )


@dataclass
class _Play:
    """The episodes that are out at one moment, and those that have ended."""

    rollout: Rollout
    sessions: SessionPool
    generation: Generation
    encode: Callable[[str], TokenIds]
    seed: int
    listener: Listener
    asked: dict[str, tuple[_Episode, Prompt]] = field(default_factory=dict)  # by request id
    ended: dict[tuple[str, int], Trajectory] = field(default_factory=dict)
    num_tokens: int = 0

    def start(self, task: Task, attempt: int) -> None:
        session = self.sessions.take()
        opening = session.reset(task)
        self._go_on(_Episode(task, attempt, session, opening.goal, opening.observation))

    def advance(self, completion: Completion) -> None:
        check_fresh(completion, self.generation.weight_version)
        episode, prompt = self.asked.pop(completion.request_id)
        action = self.sessions.environment.action(completion.text, episode.observation)
        episode.play(prompt, completion, action)
        self.num_tokens += len(completion.token_ids)
        self._go_on(episode)

    def _go_on(self, episode: _Episode) -> None:
        is_late = len(episode.steps) >= self.sessions.environment.max_steps
        if episode.observation.done or is_late:
            self._end(episode)
        else:
            self._ask(episode)

    def _ask(self, episode: _Episode) -> None:
        prompt = self.rollout.prompt(
            self.sessions.environment,
            self.encode,
            episode.goal,
            episode.history,
            episode.observation,
        )
        request = SampleRequest(
            id=f"{episode.id}@{len(episode.steps)}",
            prompt_ids=prompt.token_ids,
            max_tokens=self.rollout.max_response_tokens,
            temperature=self.rollout.temperature,
            seed=_request_seed(self.seed, episode.task.id, episode.attempt, len(episode.steps)),
        )
        self.asked[request.id] = episode, prompt
        self.generation.submit(request)

    def _end(self, episode: _Episode) -> None:
        self.sessions.give_back(episode.session)
        trajectory = episode.trajectory()
        self.ended[episode.task.id, episode.attempt] = trajectory
        self.listener.on_trajectory_end(trajectory)
        self.listener.on_stage_progress("rollout", len(self.ended))


def _shortened(
    environment: Environment, goal: str, history: Sequence[Turn], observation: Observation
) -> Iterator[PromptText]:
    """With ever less history. Turns that are not shown anyway do not count as dropped."""
    previous = None
    for start in range(len(history) + 1):
        text = environment.prompt(goal, history[start:], observation)
        if text != previous:
            yield text
        previous = text


def check_fresh(completion: Completion, weight_version: int) -> None:
    """Raises where a response does not come from the weights that are served."""
    if completion.weight_version != weight_version:
        raise ValueError(
            f"the response to {completion.request_id!r} was sampled with weights of version "
            f"{completion.weight_version}, but version {weight_version} is served: the engine did "
            "not take the newest weights over, or shared servers are synced by another run too"
        )


def _check_distinct(tasks: Sequence[Task]) -> None:
    repeated = [task_id for task_id, count in Counter(t.id for t in tasks).items() if count > 1]
    if repeated:
        raise ValueError(
            f"task ids are not distinct: {repeated[:3]} repeat. A group is all attempts at one "
            "task: raise rollout.group_size to attempt it more often"
        )


def _request_seed(seed: int, task_id: str, attempt: int, step: int) -> int:
    """The same in every process and order of play, unlike hash()."""
    key = f"{seed}/{task_id}/{attempt}/{step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1
