"""Requests on their way to servers and answers on their way back, all at once."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from opid_lightning.sampling.vllm_server.client import GENERATE
from opid_lightning.servers.health import CONNECTIONS


@dataclass(frozen=True)
class Address:
    """Whose question it is, and which life of which server it was put to."""

    request_id: str
    url: str
    restart_count: int


@dataclass(frozen=True)
class Answer:
    """What came of one request."""

    address: Address
    content: httpx.Response | Exception


class Traffic:
    """One asyncio loop in a thread of its own. What happens there is heard by `wait` alone."""

    def __init__(self, timeout_s: float) -> None:
        self._arrived: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        timeout = httpx.Timeout(timeout_s, connect=60)
        self._http = httpx.AsyncClient(timeout=timeout, **CONNECTIONS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def send(self, address: Address, body: Mapping[str, Any]) -> None:
        """Starts a request without waiting; its answer comes out of `wait`."""

        def start() -> None:
            task = self._loop.create_task(self._carry(address, body))
            self._tasks.add(task)  # a loop alone does not keep its tasks
            task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(start)

    def wait(self, patience_s: float = math.inf) -> list[Answer]:
        """At least one answer, and whichever else have arrived; none where none came so soon."""
        try:
            answers = [self._arrived.get(timeout=min(patience_s, threading.TIMEOUT_MAX))]
        except queue.Empty:
            return []
        while not self._arrived.empty():
            answers.append(self._arrived.get())
        return answers

    async def _carry(self, address: Address, body: Mapping[str, Any]) -> None:
        content: httpx.Response | Exception
        try:
            content = await self._http.post(address.url + GENERATE, json=body)
        except Exception as error:  # of whichever kind, it is for the thread that waits
            content = error
        self._arrived.put(Answer(address, content))

    def close(self) -> None:
        """Hangs up on servers that have not answered, which makes them drop the request."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _hang_up(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()
