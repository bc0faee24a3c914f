"""The fork server as the trainer sees it."""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from opid_lightning.envs.workers.exchange import UnreadableError, ask, receive, unpickled
from opid_lightning.envs.workers.strays import MARK, end_marked
from opid_lightning.protocols import Environment
from opid_lightning.servers.child_environment import child_environment

FORK_SERVER = Path(__file__).with_name("fork_server.py")
# Of numerical libraries: a worker is one of many, and forks of what has threads may hang.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
STOP_S = 10.0
PATIENCE_S = 1.0  # after which it may have been stopped, as by SIGSTOP, and is told to continue
ANSWER_S = 10.0  # after which it never will: forking and killing take milliseconds
INSTEAD = "Or play in the trainer's process: workers.num_processes=0"


class ForkServerGone(Exception):  # noqa: N818
    """It was killed, and its workers with it."""


class ForkServerProcess:
    """Forks workers and ends them. Used from several threads."""

    def __init__(self, environment: Environment, timeout_s: float) -> None:
        """Raises ValueError where the environment cannot be built there."""
        name = type(environment).__name__
        payload = pickled(environment)
        ours, theirs = socket.socketpair()
        self._lock = Lock()
        self._mark = uuid4().hex
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-P", str(FORK_SERVER), str(theirs.fileno())],
            env={**ONE_THREAD, **child_environment(), MARK: self._mark},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the trainer, which ends it in turn
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        if problem := self._problem((sys.path, payload), timeout_s):
            self.stop()
            raise ValueError(f"{name} cannot be built in a worker process: {problem}\n{INSTEAD}")

    @property
    def process_id(self) -> int:
        """Its process id, for messages and tests."""
        return self._process.pid

    def _problem(self, told: tuple[list[str], bytes], timeout_s: float) -> str:
        try:
            found: str = unpickled(ask(self._connection, pickle.dumps(told), timeout_s))
        except TimeoutError:
            return f"importing it took longer than workers.reset_timeout_s={timeout_s:g}"
        except UnreadableError as error:
            return f"importing it disturbed the connection to its process: {error}"
        except (EOFError, OSError):
            return f"importing it ended the process with {how_it_ended(self._process.wait())}"
        return found

    def fork(self) -> tuple[int, Connection]:
        """The process id of a new worker, and what it is asked through."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            worker = self._ask("fork", sends=theirs)
            return worker, Connection(ours.detach())

    def end(self, worker: int) -> int | None:
        """Kills it, and waits until it is gone; its exit code, as subprocess gives them."""
        return self._ask("end", worker)

    def _ask(self, *request: Any, sends: socket.socket | None = None) -> Any:
        with self._lock:
            try:
                self._connection.send(request)
                if sends is not None:
                    reduction.send_handle(self._connection, sends.fileno(), self._process.pid)
                return unpickled(self._answer())
            except (EOFError, OSError, UnreadableError) as error:  # a TimeoutError is an OSError
                self._process.kill()  # it cannot be asked again: an answer may still be under way
                raise ForkServerGone from error

    def _answer(self) -> bytes:
        """Its next message; raises TimeoutError where there is none in time."""
        if not self._connection.poll(PATIENCE_S):
            self._process.send_signal(signal.SIGCONT)
        return receive(self._connection, time.monotonic() + ANSWER_S)

    def stop(self) -> None:
        """Ends it, all its workers, and what they started."""
        with self._lock:
            self._connection.close()
            self._process.send_signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
            self._process.kill()
            self._process.wait()
            end_marked(self._mark)


def pickled(environment: Environment) -> bytes:
    """The environment as bytes.

    Raises ValueError where a worker could not import or unpickle it.
    """
    kind = type(environment)
    if kind.__module__ == "__main__":
        raise ValueError(
            f"{kind.__name__} is defined in the script that runs, from where a worker process "
            f"cannot import it: put it into a module of its own. {INSTEAD}"
        )
    try:
        return pickle.dumps(environment)
    except Exception as error:
        raise ValueError(
            f"{kind.__name__} cannot be sent to a worker process: {error}. Keep what cannot be "
            "pickled, such as files, locks and connections, in its sessions, and open it in "
            f"open(). {INSTEAD}"
        ) from error


def how_it_ended(code: int | None) -> str:
    """ "exit code 1" or "signal SIGKILL", for messages."""
    if code is None:
        return "an unknown code"

    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
