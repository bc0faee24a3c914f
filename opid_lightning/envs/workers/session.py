"""A session as the rollout sees it, while it lives in a worker process."""

from __future__ import annotations

import pickle
from typing import Any

from opid_lightning.envs.workers.exchange import UnreadableError, ask, unpickled
from opid_lightning.envs.workers.fork_server_process import (
    ForkServerGone,
    ForkServerProcess,
    how_it_ended,
)
from opid_lightning.envs.workers.settings import Workers
from opid_lightning.envs.workers.worker import Name, Request
from opid_lightning.protocols import SessionLostError
from opid_lightning.types import Observation, Opening, Task

SHOWN = 80  # characters of what a worker was asked when it was lost


class WorkerSession:
    """Asks its worker, and ends it where it takes too long."""

    def __init__(self, fork_server: ForkServerProcess, workers: Workers) -> None:
        self.fork_server = fork_server
        self.workers = workers
        self.process_id, self._connection = fork_server.fork()
        self._num_requests = 0

    def open(self) -> None:
        """Otherwise the first reset opens it."""
        self._ask("open", self.workers.reset_timeout_s)

    def reset(self, task: Task) -> Opening:
        """Asks the worker; SessionLostError where it dies or exceeds `reset_timeout_s`."""
        opening: Opening = self._ask("reset", self.workers.reset_timeout_s, task)
        return opening

    def step(self, action: str) -> Observation:
        """Asks the worker; SessionLostError where it dies or exceeds `step_timeout_s`."""
        observation: Observation = self._ask("step", self.workers.step_timeout_s, action)
        return observation

    def close(self) -> None:
        """Also while another thread waits for an answer, which then hears that it was lost."""
        self._end()

    def _ask(self, name: Name, timeout_s: float, *arguments: Any) -> Any:
        shown = ", ".join(a.id if isinstance(a, Task) else str(a) for a in arguments)
        call = f"{name}({shown[:SHOWN]})"
        self._num_requests += 1
        request = pickled((self._num_requests, name, arguments), call)
        try:
            message = ask(self._connection, request, timeout_s)
            returned, answer = checked(unpickled(message), self._num_requests)
        except TimeoutError as error:
            self._end()
            limit = "step_timeout" if name == "step" else "reset_timeout"
            took = f"{call} took longer than workers.{limit}_s={timeout_s:g}"
            raise SessionLostError(limit, took) from error
        except (EOFError, ConnectionError) as error:
            ended = how_it_ended(self._end())
            raise SessionLostError("died", f"{call} ended the worker process: {ended}") from error
        except UnreadableError as error:
            self._end()
            said = f"{call} was answered with what is no answer: {error}"
            raise SessionLostError("unreadable", said) from error
        if not returned:
            raise answer
        return answer

    def _end(self) -> int | None:
        try:
            return self.fork_server.end(self.process_id)
        except ForkServerGone:  # and its workers with it
            return None


def checked(answer: Any, number: int) -> tuple[bool, Any]:
    """Whether the request of this number returned, and what; or else what it raised."""
    match answer:
        case (found, bool() as returned, value) if found == number:
            if returned or isinstance(value, Exception):
                return returned, value
    raise UnreadableError(
        f"expected request {number}, whether it returned and what, but {str(answer)[:SHOWN]!r} came"
    )


def pickled(request: Request, call: str) -> bytes:
    """The request as bytes; raises ValueError where the task's payload cannot be pickled."""
    try:
        return pickle.dumps(request)
    except Exception as error:
        raise ValueError(
            f"{call} cannot be sent to a worker process: {error}. The payload of a task has to be "
            "picklable; what is not, a session can open in reset()"
        ) from error
