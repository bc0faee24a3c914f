"""Interfaces with several implementations: Environment, Sampler, Analyst, IterationObserver."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from opid_lightning.types import (
    Action,
    Analysis,
    Completion,
    Exchange,
    Hindsight,
    Observation,
    Opening,
    Policy,
    PromptText,
    SampleRequest,
    Task,
    Trajectory,
    Turn,
)

GAMMA = 0.95  # of discounted returns, wherever `advantage.gamma` has not said another
Split = Literal["train", "valid_seen", "valid_unseen"]
_Protocol = TypeVar("_Protocol", bound=type)


def implemented_by_name(protocol: _Protocol) -> _Protocol:
    """Leaves the annotations of its methods to type checkers.

    The command line compares annotations of a class with the protocol's, where there are some: it
    takes `-> None` for another type than `-> "None"`, and refuses a class that has none.
    """
    for method in vars(protocol).values():
        if inspect.isfunction(method):
            # Without `return` the command line would take __call__ for a maker of objects.
            method.__annotations__ = inspect.unwrap(method).__annotations__ = {"return": Any}
    return protocol


class SessionLostError(Exception):
    """A session died, or took longer than it may: it costs its attempt, and the run continues.

    Raised by `reset` and `step`. Whatever else they raise is a bug, and stops the run.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """The reason is a short name in lower case, under which losses are counted."""
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@runtime_checkable
class Session(Protocol):
    """A live game. Reused: `reset` starts the next task. One that was lost is only closed."""

    def reset(self, task: Task) -> Opening:
        """Starts the task over, leaving nothing of the game before. Raises SessionLostError."""

    def step(self, action: str) -> Observation:
        """Plays one action, well-formed or not. Raises SessionLostError."""

    def close(self) -> None:
        """Gives everything back; called once, on a lost session as well."""


@implemented_by_name
@runtime_checkable
class Environment(Protocol):
    """A family of tasks: which there are, how they are played, shown and answered."""

    @property
    def max_steps(self) -> int:
        """After so many steps an episode ends, won or not; at least 1. A plain field will do."""

    def tasks(self, split: Split) -> Sequence[Task]:
        """All tasks of a split in a fixed order; raises ValueError for missing data."""

    def open(self) -> Session:
        """A new session; the rollout keeps and reuses it."""

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        """The user message. The caller passes less history where the prompt is too long."""

    def action(self, response: str, observation: Observation) -> Action:
        """Reads a response. Never raises: a malformed one is an invalid action."""


@runtime_checkable
class WaitingEnvironment(Protocol):
    """What an Environment has besides where its sessions wait for other processes or machines.

    Their resets and steps then run in threads, so that the engine keeps sampling meanwhile. A
    session is in one thread at a time, not always the same; `open` stays in the rollout's own.
    """

    @property
    def max_waiting(self) -> int:
        """How many resets and steps may run at once; 0: none waits, all in the rollout's thread."""


@runtime_checkable
class Generation(Protocol):
    """A sampler that serves one policy now. Work goes in and comes out at its own pace."""

    @property
    def weight_version(self) -> int:
        """Of the weights it serves; every completion carries the version it was sampled with."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """How it went so far, by names that need no prefix."""

    def submit(self, request: SampleRequest) -> None:
        """Queues a request without waiting. Raises RequestTooLongError."""

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        """Waits until at least one submitted request is finished, or about so long.

        Returns all that are finished.
        """


class RequestTooLongError(ValueError):
    """Prompt and longest response need more positions than the model has."""

    def __init__(self, message: str, needed: int, given: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.given = given


class PolicyClientEndedError(Exception):
    """The policy is not served any more, so what it was asked stays without an answer."""


@runtime_checkable
class PolicyClient(Protocol):
    """The policy while it is served for a rollout, for others who want to ask it something."""

    @property
    def identity(self) -> str:
        """Equal for equal weights, also in another process."""

    def ask(
        self, message: str, *, max_tokens: int, temperature: float, seed: int, schema: str = ""
    ) -> Future[Exchange]:
        """A user message, from any thread, at any time; answered when the engine gets to it.

        The future raises RequestTooLongError, another ValueError where the sampler refuses the
        request, or PolicyClientEndedError.
        """

    def advance(self) -> None:
        """Lets the engine work on what was asked, for a moment.

        In the thread of the rollout, which does so by itself while it lasts.
        """


@implemented_by_name
@runtime_checkable
class Sampler(Protocol):
    """An engine that samples responses."""

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        """Takes over the policy's newest weights, then serves until the block ends."""


class AnalystUnavailableError(ValueError):
    """The analyst cannot work at all, as with a wrong key: the run has to stop."""


@implemented_by_name
@runtime_checkable
class Analyst(Protocol):
    """Reads finished trajectories and writes skills. Called from several threads."""

    @property
    def identity(self) -> str:
        """What an analysis depends on besides the trajectory and its candidates: the model, the
        prompt's version, sampling settings. Analyses of equal identity are interchangeable."""

    def start(self) -> None:
        """Makes sure that it can work, before the first rollout; else AnalystUnavailableError."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """Step skills may be about the steps `candidates` alone.

        A reply that cannot be used is an analysis with a failure. Raises AnalystUnavailableError.
        """

    def close(self) -> None:
        """Gives back what `start` took."""


@runtime_checkable
class ReadsKind(Protocol):
    """An analyst that says something else of equal trajectories whose tasks are of other kinds."""

    def identity_for(self, kind: str) -> str:
        """In place of `identity`: what an analysis of such a task depends on."""


@runtime_checkable
class AsksPolicy(Protocol):
    """An analyst that asks the policy itself."""

    def listen(self, client: PolicyClient) -> None:
        """Is told of each rollout's client, before its first trajectory ends."""


# Where the skills on an iteration's trajectories come from, asked once all of them are over.
HindsightSource = Callable[[Sequence[Trajectory]], Hindsight]


def no_hindsight(trajectories: Sequence[Trajectory]) -> Hindsight:
    """The source of a run without an analyst: no skills and no failures."""
    return Hindsight()


@runtime_checkable
class IterationObserver(Protocol):
    """Hears an iteration while it happens, and changes nothing about it."""

    def on_rollout_start(self, client: PolicyClient) -> None:
        """The client can be asked until the hindsight is there."""

    def on_stage_start(self, stage: str, total: int) -> None:
        """A stage begins that has `total` parts: trajectories, or rows."""

    def on_stage_progress(self, stage: str, done: int) -> None:
        """`done` of its parts are finished."""

    def on_stage_end(self, stage: str, num_tokens: int) -> None:
        """A stage ended, having sampled or scored this many tokens."""

    def on_trajectory_end(self, trajectory: Trajectory) -> None:
        """One attempt is over; others may still play."""

    def on_rollout_end(self, trajectories: Sequence[Trajectory]) -> None:
        """All attempts of this rank are over; skills on them are collected next."""


class SilentObserver:
    """An IterationObserver that does nothing; override what you need."""

    def on_rollout_start(self, client: PolicyClient) -> None:
        """See IterationObserver."""

    def on_stage_start(self, stage: str, total: int) -> None:
        """See IterationObserver."""

    def on_stage_progress(self, stage: str, done: int) -> None:
        """See IterationObserver."""

    def on_stage_end(self, stage: str, num_tokens: int) -> None:
        """See IterationObserver."""

    def on_trajectory_end(self, trajectory: Trajectory) -> None:
        """See IterationObserver."""

    def on_rollout_end(self, trajectories: Sequence[Trajectory]) -> None:
        """See IterationObserver."""


SILENT = SilentObserver()
