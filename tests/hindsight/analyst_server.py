"""A local server of chat completions that misbehaves as it is told, and keeps accounts.

    with AnalystServer("good") as server: ...                      # every request
    with AnalystServer(["rate_limited", "cut", "good"]) as server: ...  # in order; the last goes on
    with AnalystServer(choose) as server: ...                      # choose(request: Request)
    with AnalystServer(Answer(status=429, headers={"Retry-After": "2"})) as server: ...

    OpenAI("m", server.url)       # the model's name is not looked at
    server.requests               # everything that was asked, in order, probes included
    server.asked[key]             # number of requests about a trajectory, `key_of(its record)`
    server.answered[key]          # of those the ones answered with status 200 and all bytes

A behaviour is a name in BEHAVIOURS (tests/hindsight/analyst_behaviours.py), an `Answer`, or a
function of the request that gives either. Lists count one request after the other, however many
trajectories they are about; a function can look at `request.attempt`, which counts those about
this trajectory, from 0. Which trajectory a request is about is told by its first user message,
so a repair counts to its trajectory. Probes (requests with fewer than two messages) have a
behaviour of their own, `probe`.

All counts are final once the server has ended; before, the last answer may not be counted yet.
It is one thread with an event loop, whatever the number of connections, which are kept alive.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.hindsight.analyst_behaviours import BEHAVIOURS, Answer, Behaviour, Request, error

TLS = b"\x16"  # with which a handshake begins


class AnalystServer:
    def __init__(
        self, behaviour: Behaviour | Sequence[Behaviour], probe: Behaviour = "good", port: int = 0
    ) -> None:
        self.requests: list[Request] = []
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.num_probes = 0
        is_one = isinstance(behaviour, str | Answer) or callable(behaviour)
        self._behaviours: Sequence[Any] = [behaviour] if is_one else behaviour  # type: ignore[assignment,list-item]
        self._probe = probe
        self._port = port

    def __enter__(self) -> AnalystServer:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._visits: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._visit, "127.0.0.1", self._port, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        started.set()
        await self._ended.wait()
        server.close()
        for visit in tuple(self._visits):
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        visit = asyncio.current_task()
        assert visit is not None
        self._visits.add(visit)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the server ends
        finally:
            self._visits.discard(visit)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is still of use afterwards."""
        start = await reader.readexactly(1)
        if start == TLS:
            await send(reader, writer, error(400, None, "This server speaks HTTP without TLS"))
            return False
        head = start + await reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head.decode().split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if not request_line.startswith("POST /v1/chat/completions "):
            await send(reader, writer, error(404, None, f"No such path: {request_line}"))
            return True
        request = self._noted(json.loads(body), headers)
        answer = self._choose(request)
        is_whole = await send(reader, writer, answer)
        if is_whole and answer.status == 200 and not request.is_probe:
            self.answered[request.key] += 1
        return is_whole

    def _noted(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
        request = Request(0, 0, body, headers)
        if request.is_probe:
            request = replace(request, number=self.num_probes, attempt=self.num_probes)
            self.num_probes += 1
        else:
            number = len(self.requests) - self.num_probes
            request = replace(request, number=number, attempt=self.asked[request.key])
            self.asked[request.key] += 1
        self.requests.append(request)
        return request

    def _choose(self, request: Request) -> Answer:
        chosen = self._behaviours[min(request.number, len(self._behaviours) - 1)]
        if request.is_probe:
            chosen = self._probe
        while not isinstance(chosen, Answer):
            chosen = BEHAVIOURS[chosen] if isinstance(chosen, str) else chosen(request)
        return chosen


async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Whether all of it was sent, and the connection left open."""
    if answer.is_hanging:
        await reader.read()  # until the client hangs up
        return False
    await asyncio.sleep(answer.delay_s)
    headers = {"Content-Type": "application/json", **answer.headers}
    headers["Content-Length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status} Status", *(f"{n}: {v}" for n, v in headers.items())]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    if answer.cut_at is not None:
        writer.write((head + answer.body)[: answer.cut_at])
        await writer.drain()
        if answer.is_reset:
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
    if answer.drip_s:
        writer.write(head)
        for at in range(len(answer.body)):
            await asyncio.sleep(answer.drip_s)
            writer.write(answer.body[at : at + 1])
            await writer.drain()
    else:
        writer.write(head + answer.body)
    await writer.drain()
    return True
