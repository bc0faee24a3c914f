"""An environment whose sessions live in worker processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from opid_lightning.envs.workers.fork_server_process import ForkServerGone, ForkServerProcess
from opid_lightning.envs.workers.session import WorkerSession
from opid_lightning.envs.workers.settings import Workers
from opid_lightning.protocols import Environment, SessionLostError, Split
from opid_lightning.types import Action, Observation, PromptText, Task, Turn

_log = logging.getLogger(__name__)


class WorkerEnvironment:
    """Tasks, prompts and actions are the environment's, here; what it opens is in the workers.

    One session a process, so that a process which dies or is ended costs one attempt. The pickled
    environment is built in the workers again: what it changes of itself later stays here.
    """

    def __init__(self, environment: Environment, workers: Workers) -> None:
        if not hasattr(os, "fork"):
            raise ValueError(
                "workers.num_processes needs a system that forks processes, such as Linux or "
                "macOS: set it to 0"
            )
        self.environment = environment
        self.workers = workers
        self.max_steps = environment.max_steps
        self._fork_server: ForkServerProcess | None = None

    @property
    def max_waiting(self) -> int:
        """One thread per worker, each waiting for its own process."""
        return self.workers.num_processes

    def tasks(self, split: Split) -> Sequence[Task]:
        """The environment's own, listed in this process."""
        return self.environment.tasks(split)

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        """The environment's own, written in this process."""
        return self.environment.prompt(goal, history, observation)

    def action(self, response: str, observation: Observation) -> Action:
        """The environment's own, read in this process."""
        return self.environment.action(response, observation)

    def start(self) -> None:
        """Makes sure that a worker can open a session; raises what keeps it from that."""
        session = self.open()
        try:
            session.open()
        except SessionLostError as error:
            raise ValueError(
                f"{type(self.environment).__name__} cannot be opened in a worker process: {error}"
            ) from error
        finally:
            session.close()

    def open(self) -> WorkerSession:
        """Returns at once; the first reset waits until the worker is there."""
        if self._fork_server is None:
            self._fork_server = self._new_fork_server()
        try:
            return WorkerSession(self._fork_server, self.workers)
        except ForkServerGone:
            _log.warning("The process that workers are forked from was killed; it starts again.")
            self._fork_server.stop()
            self._fork_server = self._new_fork_server()
            return WorkerSession(self._fork_server, self.workers)

    def close(self) -> None:
        """Ends all processes; opening a session starts them again."""
        if self._fork_server is not None:
            self._fork_server.stop()
            self._fork_server = None

    def _new_fork_server(self) -> ForkServerProcess:
        return ForkServerProcess(self.environment, self.workers.reset_timeout_s)
