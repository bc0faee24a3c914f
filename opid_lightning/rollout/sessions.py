"""Live sessions of an environment, and the threads in which those that wait are waited for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from opid_lightning.gate import check_max_steps, gate_of
from opid_lightning.protocols import Environment, Session, WaitingEnvironment


class SessionPool:
    """Reuses sessions from task to task: opening one is expensive."""

    def __init__(self, environment: Environment) -> None:
        check_max_steps(environment)
        self.environment = environment
        self._gate = gate_of(environment)
        self._open: list[Session] = []
        self._idle: list[Session] = []

    def take(self) -> Session:
        """An idle session, or a new one."""
        if not self._idle:
            with self._gate.calling("open()"):
                self._idle.append(self._gate.session(self.environment.open()))
            self._open.append(self._idle[-1])
        return self._idle.pop()

    def give_back(self, session: Session) -> None:
        """Keeps a session for the next task; a lost one is discarded instead."""
        self._idle.append(session)

    def discard(self, session: Session) -> None:
        """Closes one that was taken and lost; the next attempt opens another."""
        self._open = [other for other in self._open if other is not session]
        self._end(session)

    def close(self) -> None:
        """Closes all, also those that a rollout which failed never gave back."""
        self._idle.clear()
        while self._open:
            self._end(self._open.pop())

    def _end(self, session: Session) -> None:
        with self._gate.calling("close()"):
            session.close()


@contextmanager
def threads_for(environment: Environment) -> Iterator[ThreadPoolExecutor | None]:
    """As many threads as resets and steps of its sessions may wait in; none where none waits.

    Where the block fails, what waits is left to itself: an error must not have to wait, too.
    """
    number = environment.max_waiting if isinstance(environment, WaitingEnvironment) else 0
    if not number:
        yield None
        return
    threads = ThreadPoolExecutor(number, thread_name_prefix="session")
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
