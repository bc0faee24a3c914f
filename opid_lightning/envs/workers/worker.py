"""What a worker process does: it opens a session, and answers requests about it in turn."""

from __future__ import annotations

import pickle
import traceback
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from opid_lightning.gate import gate_of
from opid_lightning.protocols import Environment, Session, SessionLostError
from opid_lightning.types import Observation, Opening, Task

Name = Literal["open", "reset", "step"]
Request = tuple[int, Name, tuple[Any, ...]]  # its number, a method of _Seat, and its arguments
# The request's number; whether it returned; what it did, or else what it raised. Without the
# number, what an environment writes itself could be taken for an answer.
Answer = tuple[int, bool, Any]
PACKAGE = Path(__file__).parents[2]
BUG = "is_a_bug"  # an attribute of errors that need their traceback, whoever raises them again


def serve(environment: Environment, requests: Connection) -> None:
    """Until there is nobody any more who asks."""
    seat = _Seat(environment)
    with suppress(EOFError, ConnectionError):
        while True:
            request: Request = requests.recv()
            requests.send_bytes(_answer(seat, *request))


@dataclass
class _Seat:
    """Answers are checked here, too: what is no plain value might not reach the trainer."""

    environment: Environment
    task: Task | None = None  # that is played
    num_steps: int = 0

    @cached_property
    def session(self) -> Session:
        return gate_of(self.environment).session(self.environment.open())

    def open(self) -> None:
        self.session  # noqa: B018  # opens it

    def reset(self, task: Task) -> Opening:
        self.task, self.num_steps = task, 0
        return gate_of(self.environment).opening(self.session.reset(task), task)

    def step(self, action: str) -> Observation:
        assert self.task is not None
        step, self.num_steps = self.num_steps, self.num_steps + 1
        return gate_of(self.environment).observation(self.session.step(action), self.task, step)


def _answer(seat: _Seat, number: int, name: Name, arguments: tuple[Any, ...]) -> bytes:
    """An Answer, pickled."""
    try:
        return pickle.dumps((number, True, getattr(seat, name)(*arguments)))
    except MemoryError as error:
        # Of the process, whatever the game does about it: the next step would find it as full.
        lost = SessionLostError("out_of_memory", f"{name} raised {error!r}")
        return pickle.dumps((number, False, lost))
    except Exception as error:
        error.add_note(f"It was raised in a worker process:\n{traceback.format_exc()}")
        if not is_ours(error):
            setattr(error, BUG, True)
        return _pickled(number, error)


def is_ours(error: Exception) -> bool:
    """Whether this package raised it; what an own environment raises is a bug of its own."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    return PACKAGE in Path(raised_in).absolute().parents


def _pickled(number: int, error: Exception) -> bytes:
    """Errors that give their class other arguments than they took are built again wrongly."""
    try:
        answer = pickle.dumps((number, False, error))
        if str(pickle.loads(answer)[2]) == str(error):
            return answer
    except Exception:
        pass  # it was not built again at all
    plain = RuntimeError(f"{type(error).__name__}: {error}")
    plain.__notes__ = error.__notes__
    return pickle.dumps((number, False, plain))
