"""Plays tasks x attempts: every environment runs at its own pace, finished ones cost nothing."""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opid_lightning.episodes import Episode
from opid_lightning.gate import Gate, gate_of, shown
from opid_lightning.protocols import Environment, Generation, Listener, SessionLostError
from opid_lightning.sessions import SessionPool, threads_for
from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Prompt,
    PromptText,
    SampleRequest,
    Task,
    TokenIds,
    Trajectory,
    Turn,
)

_log = logging.getLogger(__name__)
PATIENCE_S = 0.02  # how soon a session that waited is heard while the engine works


@dataclass(frozen=True)
class Rollout:
    """Plays every task `group_size` times with the policy that `generation` serves."""

    group_size: int = 8
    max_prompt_tokens: int = 2048  # of a prompt with its skill
    skill_tokens: int = 256  # of those, kept free for the skill
    max_response_tokens: int = 512
    temperature: float = 1.0
    stop: tuple[str, ...] = ()  # texts that end a response, besides the end of the turn
    max_concurrent: int = 64  # live sessions
    # Of a rollout's attempts, how many may lose their sessions before the run stops. A single one
    # never stops it, unless this is 0.
    max_lost_share: float = 0.25

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
        if not all(self.stop):
            raise ValueError(f"rollout.stop is {list(self.stop)}: a blank text would end nothing")
        if not 0 <= self.max_lost_share <= 1:
            raise ValueError(f"rollout.max_lost_share is {self.max_lost_share}, expected 0 to 1")

    def __call__(
        self,
        sessions: SessionPool,
        tasks: Sequence[Task],
        generation: Generation,
        encode: Callable[[str], TokenIds],
        seed: int,
        listener: Listener,
    ) -> tuple[Trajectory, ...]:
        """The trajectories in the order (task, attempt), whichever ended first.

        Attempts whose sessions were lost are among them, as far as they came.
        """
        _check_distinct(tasks)
        attempts = [(task, attempt) for task in tasks for attempt in range(self.group_size)]
        listener.on_stage_start("rollout", len(attempts))
        waiting = deque(attempts)
        with threads_for(sessions.environment) as threads:
            play = _Play(self, sessions, generation, encode, seed, listener, threads, len(attempts))
            while waiting or play.num_live:
                while waiting and play.num_live < self.max_concurrent:
                    play.start(*waiting.popleft())
                play.go_on()
        listener.on_stage_end("rollout", play.num_tokens)
        return tuple(play.ended[task.id, attempt] for task, attempt in attempts)

    def check_losses(self, lost: Sequence[SessionLostError], num_attempts: int) -> None:
        """Raises where so many sessions were lost that the fault is not in single games."""
        allowed = max(self.max_lost_share * num_attempts, 1) if self.max_lost_share else 0
        if len(lost) > allowed or len(lost) == num_attempts > 1:
            raise ValueError(
                f"{len(lost)} of {num_attempts} attempts lost their sessions, where "
                f"rollout.max_lost_share={self.max_lost_share:g} allows no more than "
                f"{min(int(allowed), num_attempts - 1)}. The last one: {lost[-1]}. Mend the "
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
        """With the newest history that fits, and room left for the skill, so that it is never cut.

        Raises ValueError where the prompt does not fit even without history.
        """
        budget = self.max_prompt_tokens - self.skill_tokens
        gate, step = gate_of(environment), len(history)
        for num_dropped, answer in enumerate(_shortened(environment, goal, history, observation)):
            text = gate.prompt(answer, goal, step)
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
class _Play:
    """The episodes that are out at one moment, and those that have ended."""

    rollout: Rollout
    sessions: SessionPool
    generation: Generation
    encode: Callable[[str], TokenIds]
    seed: int
    listener: Listener
    threads: Executor | None  # for resets and steps; none: they are made right here
    num_attempts: int
    asked: dict[str, tuple[Episode, Prompt]] = field(default_factory=dict)  # by request id
    moving: dict[Future[Any], _Move] = field(default_factory=dict)
    ended: dict[tuple[str, int], Trajectory] = field(default_factory=dict)
    lost: list[SessionLostError] = field(default_factory=list)
    num_tokens: int = 0
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.gate = gate_of(self.sessions.environment)

    @property
    def num_live(self) -> int:
        return len(self.asked) + len(self.moving)

    def start(self, task: Task, attempt: int) -> None:
        episode = Episode(task, attempt, self.sessions.take())
        self._move(_Move(episode, partial(self._begin, episode)), episode.session.reset, task)

    def _begin(self, episode: Episode, answer: object) -> None:
        episode.begin(self.gate.opening(answer, episode.task))

    def go_on(self) -> None:
        """Waits for what comes first, a response or a session that waited, and plays on."""
        if self.asked:
            for completion in self.generation.collect(PATIENCE_S if self.moving else math.inf):
                self._advance(completion)
        else:
            wait(self.moving, return_when=FIRST_COMPLETED)
        for future in [future for future in self.moving if future.done()]:
            self._settle(self.moving.pop(future), future.result)

    def _advance(self, completion: Completion) -> None:
        check_completion(completion, self.generation.weight_version)
        episode, prompt = self.asked.pop(completion.request_id)
        self.num_tokens += len(completion.token_ids)
        answer = self.sessions.environment.action(completion.text, episode.observation)
        action = self.gate.action(answer, episode.task, len(episode.steps))
        move = _Move(episode, partial(self._add, episode, prompt, completion, action))
        self._move(move, episode.session.step, action.text)

    def _add(
        self,
        episode: Episode,
        prompt: Prompt,
        completion: Completion,
        action: Action,
        answer: object,
    ) -> None:
        after = self.gate.observation(answer, episode.task, len(episode.steps))
        episode.add(prompt, completion, action, after)

    def _move(self, move: _Move, call: Callable[[Any], Any], argument: Task | str) -> None:
        if self.threads is None:
            self._settle(move, partial(call, argument))
        else:
            self.moving[self.threads.submit(call, argument)] = move

    def _settle(self, move: _Move, outcome: Callable[[], Any]) -> None:
        try:
            answer = outcome()
        except SessionLostError as error:
            self._lose(move.episode, error)
            return
        move.then(answer)
        is_late = len(move.episode.steps) >= self.sessions.environment.max_steps
        if move.episode.observation.done or is_late:
            self._end(move.episode)
        else:
            self._ask(move.episode)

    def _ask(self, episode: Episode) -> None:
        prompt = self.rollout.prompt(
            self.sessions.environment,
            self.encode,
            episode.goal,
            episode.history,
            episode.observation,
        )
        request = SampleRequest(
            id=episode.next_id,
            prompt_ids=prompt.token_ids,
            max_tokens=self.rollout.max_response_tokens,
            temperature=self.rollout.temperature,
            stop=self.rollout.stop,
            seed=episode.next_seed(self.seed),
        )
        self.asked[request.id] = episode, prompt
        self.generation.submit(request)

    def _end(self, episode: Episode) -> None:
        self.sessions.give_back(episode.session)
        trajectory = episode.trajectory()
        self.ended[episode.task.id, episode.attempt] = trajectory
        self.listener.on_trajectory_end(trajectory)
        self.listener.on_stage_progress("rollout", len(self.ended))

    def _lose(self, episode: Episode, error: SessionLostError) -> None:
        """The listener does not hear of it as a trajectory: nobody is to look back on it."""
        if error.reason not in {other.reason for other in self.lost}:
            _log.warning("%s lost its session, and others may: %s", episode.next_id, error)
        self.lost.append(error)
        self.rollout.check_losses(self.lost, self.num_attempts)
        self.sessions.discard(episode.session)
        self.ended[episode.task.id, episode.attempt] = episode.lost(error.reason)
        self.listener.on_stage_progress("rollout", len(self.ended))


@dataclass(frozen=True)
class _Move:
    """A reset or step that is being made."""

    episode: Episode
    then: Callable[[Any], None]  # takes its answer


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


def check_completion(completion: Completion, weight_version: int) -> None:
    """Raises where a response cannot be trained on, or is not of the weights that are served."""
    num_tokens, logprobs = len(completion.token_ids), completion.logprobs
    if not num_tokens or len(logprobs) != num_tokens or not all(map(math.isfinite, logprobs)):
        raise ValueError(
            f"the sampler answered {completion.request_id!r} with {num_tokens} tokens and the "
            f"log-probs {shown(logprobs)}; expected at least one token, and a finite log-prob "
            "of each"
        )
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
