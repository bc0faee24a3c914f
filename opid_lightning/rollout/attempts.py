"""The attempts of a rollout: each while it is played, and all that are out at one moment."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from opid_lightning.gate import Gate, check_generation, completions_of, gate_of, shown
from opid_lightning.protocols import Generation, IterationObserver, Session, SessionLostError
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Opening,
    Prompt,
    SampleRequest,
    Step,
    Task,
    TokenIds,
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
        """The turns so far, oldest first."""
        return tuple(Turn(step.observation, step.action) for step in self.steps)

    def begin(self, opening: Opening) -> None:
        """Takes goal and first observation from `reset`."""
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
        """The steps so far as a finished trajectory."""
        return Trajectory(
            self.task, self.attempt, self.goal, tuple(self.steps), self.observation.won
        )

    def lost(self, reason: str) -> Trajectory:
        """What there was of it when its session was lost."""
        steps = tuple(self.steps)
        return Trajectory(self.task, self.attempt, self.goal, steps, False, session_lost=reason)


if TYPE_CHECKING:
    from opid_lightning.rollout.rollout import Rollout

_log = logging.getLogger(__name__)
PATIENCE_S = 0.02  # how soon a session that waited is heard while the engine works


@dataclass
class Play:
    """The episodes that are out at one moment, and those that have ended."""

    rollout: Rollout
    sessions: SessionPool
    generation: Generation
    encode: Callable[[str], TokenIds]
    seed: int
    observer: IterationObserver
    threads: Executor | None  # for resets and steps; none: they are made right here
    num_attempts: int
    asked: dict[str, tuple[Episode, Prompt]] = field(default_factory=dict)  # by request id
    moving: dict[Future[Any], _Move] = field(default_factory=dict)
    ended: dict[tuple[str, int], Trajectory] = field(default_factory=dict)
    lost: list[SessionLostError] = field(default_factory=list)
    num_tokens: int = 0
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        check_generation(self.generation)
        self.gate = gate_of(self.sessions.environment)

    @property
    def num_live(self) -> int:
        """Attempts that hold a session now."""
        return len(self.asked) + len(self.moving)

    def start(self, task: Task, attempt: int) -> None:
        """Takes a session and resets it to the task, in a thread where sessions wait."""
        episode = Episode(task, attempt, self.sessions.take())
        move = _Move(episode, f"reset() to {task.id!r}", partial(self._begin, episode))
        self._move(move, episode.session.reset, task)

    def _begin(self, episode: Episode, answer: object) -> None:
        episode.begin(self.gate.opening(answer, episode.task))

    def advance(self) -> None:
        """Waits for what comes first, a response or a session that waited, and plays on."""
        if self.asked:
            answer = self.generation.collect(PATIENCE_S if self.moving else math.inf)
            for completion in completions_of(answer, self.generation):
                self._advance(completion)
        else:
            wait(self.moving, return_when=FIRST_COMPLETED)
        for future in [future for future in self.moving if future.done()]:
            self._settle(self.moving.pop(future), future.result)

    def _advance(self, completion: Completion) -> None:
        check_completion(completion, self.generation.weight_version)
        if completion.request_id not in self.asked:
            raise ValueError(
                f"The sampler returned a response to {completion.request_id!r}, which was not "
                "submitted or has been answered; expected one for each request. Fix the sampler."
            )
        episode, prompt = self.asked.pop(completion.request_id)
        self.num_tokens += len(completion.token_ids)
        step = f"at step {len(episode.steps)} of {episode.task.id!r}"
        with self.gate.calling(f"action() {step}"):
            answer = self.sessions.environment.action(completion.text, episode.observation)
        action = self.gate.action(answer, episode.task, len(episode.steps))
        then = partial(self._add, episode, prompt, completion, action)
        move = _Move(episode, f"step() {step}", then)
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
            with self.gate.calling(move.call):
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
        self.observer.on_trajectory_end(trajectory)
        self.observer.on_stage_progress("rollout", len(self.ended))

    def _lose(self, episode: Episode, error: SessionLostError) -> None:
        """The observer does not hear of it as a trajectory: no analyst is to read it."""
        if error.reason not in {other.reason for other in self.lost}:
            _log.warning("%s lost its session, and others may: %s", episode.next_id, error)
        self.lost.append(error)
        self.rollout.check_losses(self.lost, self.num_attempts)
        self.sessions.discard(episode.session)
        self.ended[episode.task.id, episode.attempt] = episode.lost(error.reason)
        self.observer.on_stage_progress("rollout", len(self.ended))


@dataclass(frozen=True)
class _Move:
    """A reset or step that is being made."""

    episode: Episode
    call: str  # for messages
    then: Callable[[Any], None]  # takes its answer


def check_completion(completion: Completion, weight_version: int) -> None:
    """Raises where a response cannot be trained on, or is not of the weights that are served."""
    num_tokens, logprobs = len(completion.token_ids), completion.logprobs
    if not num_tokens or len(logprobs) != num_tokens:
        raise ValueError(
            f"the sampler answered {completion.request_id!r} with {num_tokens} tokens and "
            f"{len(logprobs)} log-probs; expected at least one token, and a log-prob of each"
        )
    if not all(map(math.isfinite, logprobs)):
        raise ValueError(
            f"The log-probs of the response to {completion.request_id!r} are {shown(logprobs)}; "
            "expected finite numbers. The policy's own logits are not finite: its weights have "
            "diverged. The newest checkpoint holds the same weights, so resume from an earlier "
            "one (ckpt_path=FILE), or start again, with a lower learning rate (optimizer.lr)"
        )
    if completion.weight_version != weight_version:
        raise ValueError(
            f"the response to {completion.request_id!r} was sampled with weights of version "
            f"{completion.weight_version}, but version {weight_version} is served: the engine did "
            "not take the newest weights over, or shared servers are synced by another run too"
        )
