"""The servers of a run: kept synced, brought back when they are lost, until that is hopeless."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from opid_lightning.sampling.vllm_server.client import ServerClient
from opid_lightning.sampling.vllm_server.sync import Weights
from opid_lightning.sampling.weights import Parity
from opid_lightning.servers.health import ServerGone, wait_until_well
from opid_lightning.servers.process import ServerProcess
from opid_lightning.types import SampleRequest

_log = logging.getLogger(__name__)
JOIN_S = 10.0  # for a server given by URL, which should be up before the run


class ServersLostError(ValueError):
    """Servers could not be started, or were lost too often to continue."""


@dataclass
class Server:
    """One server, and what it was asked and has not answered."""

    client: ServerClient
    process: ServerProcess | None  # none where it was given by URL
    start_timeout_s: float
    restart_count: int = 0  # tells answers of an earlier process apart
    asked: dict[str, SampleRequest] = field(default_factory=dict)

    def begin(self) -> None:
        """Starts the process where it is this run's own, without waiting for it."""
        if self.process is not None:
            self.process.start()

    def wait(self, timeout_s: float) -> None:
        """Waits until it is healthy; raises ServerLostError after `timeout_s` seconds."""
        wait_until_well(self.client.http, self.client.url, self.process, timeout_s)

    def revive(self) -> None:
        """Stops and starts it again, and waits until it is healthy."""
        self.restart_count += 1
        self.stop()
        self.begin()
        self.wait(self.start_timeout_s)

    def stop(self) -> None:
        """Stops the process where it is this run's own."""
        if self.process is not None:
            self.process.stop()

    def log_tail(self) -> str:
        """The end of its log, or where that is to be found."""
        return self.process.log_tail() if self.process is not None else "Its log is where it runs."


@dataclass
class Fleet:
    """Several servers of the same model."""

    servers: Sequence[Server]
    max_losses: int
    max_positions: int | None = None
    version: int = 0
    num_restarts: int = 0
    num_losses_in_a_row: int = 0
    has_served: bool = False  # until then, a loss is no accident but a model that does not run

    def start(self) -> None:
        """All at once. Raises ServersLostError where one does not come up; then none is left."""
        try:
            for server in self.servers:
                server.begin()
            for server in self.servers:
                self._first_contact(server)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the servers that this run started."""
        for server in self.servers:
            server.stop()

    def sync(self, weights: Weights) -> Parity:
        """Of the server that is furthest from the trainer."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            parities = list(pool.map(partial(self.sync_one, weights), self.servers))
        self.has_served = True
        return max(parities, key=lambda parity: parity.mean)

    def sync_one(self, weights: Weights, server: Server) -> Parity:
        """Brings it back where it is lost on the way."""
        while True:
            try:
                return weights.push(server.client)
            except ServerGone as loss:
                self.revive(server, loss)

    def revive(self, server: Server, loss: ServerGone) -> None:
        """Raises ServersLostError where servers are lost too often."""
        while True:
            self._count(server, loss)
            try:
                server.revive()
                return
            except ServerGone as again:
                loss = again

    def answered(self) -> None:
        """A request was answered: what was lost before is made up for."""
        self.num_losses_in_a_row = 0

    def _first_contact(self, server: Server) -> None:
        is_own = server.process is not None
        try:
            server.wait(server.start_timeout_s if is_own else min(JOIN_S, server.start_timeout_s))
            server.client.check_abilities()
            self.max_positions = server.client.max_positions()
        except ServerGone as loss:
            what = "did not start" if is_own else "(sampler.urls) cannot be joined"
            raise ServersLostError(
                f"the vLLM server at {server.client.url} {what}: {loss}. {server.log_tail()}"
            ) from loss

    def _count(self, server: Server, loss: ServerGone) -> None:
        self.num_losses_in_a_row += 1
        if not self.has_served or self.num_losses_in_a_row >= self.max_losses:
            raise ServersLostError(
                f"vLLM servers were lost {self.num_losses_in_a_row} times, without an answer in "
                f"between (sampler.max_losses={self.max_losses}), last the one at "
                f"{server.client.url}: {loss}. Fix it, and resume from the end of the last "
                f"iteration with ckpt_path=last. {server.log_tail()}"
            ) from loss
        self.num_restarts += 1
        _log.warning(
            "The vLLM server at %s was lost (%s); it is restarted.", server.client.url, loss
        )
