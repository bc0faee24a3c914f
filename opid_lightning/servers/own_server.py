"""A vLLM server of this process: started, started again when it is lost, until too often."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from opid_lightning.servers.health import CONNECTIONS, ServerGone, health, wait_until_well
from opid_lightning.servers.process import ServerProcess, free_port
from opid_lightning.servers.vllm import HOST, server_process

_log = logging.getLogger(__name__)


class ServerLostError(ValueError):
    """The server did not start, or was lost too often."""


@dataclass
class OwnServer:
    """Used from several threads. One of them brings it back, the others wait."""

    url: str
    process: ServerProcess
    start_timeout_s: float
    max_restarts: int
    num_restarts: int = 0  # tells its lives apart
    _is_stopped: bool = False
    _switch: Lock = field(default_factory=Lock, repr=False)  # while it is turned on or off
    _return: Lock = field(default_factory=Lock, repr=False)  # while it is waited for
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(**CONNECTIONS), repr=False)

    @classmethod
    def of(
        cls,
        arguments: Mapping[str, Any],
        log: Path,
        gpus: str | None,
        start_timeout_s: float,
        max_restarts: int,
        variables: Mapping[str, str] | None = None,
    ) -> OwnServer:
        """Not yet started."""
        port = free_port()
        process = server_process(arguments, port, log, gpus, variables)
        return cls(f"http://{HOST}:{port}", process, start_timeout_s, max_restarts)

    def start(self) -> None:
        """Raises ServerLostError with the end of its log; then nothing of it is left."""
        try:
            self._begin()
        except BaseException as error:
            self.stop()
            if isinstance(error, ServerGone):
                raise self._lost(f"did not start: {error}") from error
            raise

    def is_lost(self, restart_count: int) -> bool:
        """Whether what was asked when `num_restarts` was `life` can have no answer any more."""
        is_same = self.num_restarts == restart_count and self.process.is_running
        return not is_same or health(self._http, self.url) != 200

    def revive(self, restart_count: int) -> None:
        """Unless another thread has since. Raises ServerLostError where it was lost too often."""
        with self._return:
            if self.num_restarts != restart_count:
                return
            if self.num_restarts == self.max_restarts:
                raise self._lost(f"was lost, after {self.num_restarts} restarts")
            self.num_restarts += 1
            _log.warning("The vLLM server at %s was lost; it is started again.", self.url)
            try:
                self._begin()
            except ServerGone as gone:
                raise self._lost(f"was lost, and did not come back: {gone}") from gone

    def stop(self) -> None:
        """For good."""
        with self._switch:
            self._is_stopped = True
            self.process.stop()

    def _begin(self) -> None:
        with self._switch:
            self.process.stop()
            if self._is_stopped:
                raise ServerGone("it was stopped")
            self.process.start()
        wait_until_well(self._http, self.url, self.process, self.start_timeout_s)

    def _lost(self, what: str) -> ServerLostError:
        return ServerLostError(f"the vLLM server at {self.url} {what}. {self.process.log_tail()}")
