"""Endpoint: a server of chat completions, asked from many threads within hard limits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from opid_lightning.hindsight.chat.chat_reply import ChatReply, read_chat_reply
from opid_lightning.hindsight.chat.endpoint_faults import Fault, fault_of
from opid_lightning.hindsight.chat.endpoint_key import Address, Secret, read_key

if TYPE_CHECKING:
    import openai

MAX_BODY_BYTES = 1 << 20  # far above what a reply of the longest readable length takes
MAX_IDLE_CONNECTIONS = 64
MAX_DETAIL_CHARACTERS = 300  # some servers repeat the whole request


@dataclass
class Endpoint:
    """Connects when first asked, and anew after it was closed."""

    address: Address
    key_variable: str
    takes_schemas: bool = True  # until a probe finds otherwise
    _connection: Connection | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def connection(self) -> Connection:
        """The open connection, made on first use. Safe to call from any thread."""
        with self._lock:
            if self._connection is None:
                self._connection = Connection(
                    self.address, read_key(self.address, self.key_variable)
                )
            return self._connection

    def close(self) -> None:
        """Ends requests under way as `stopped`."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Connection:
    """An open connection to an endpoint.

    All requests run on one event loop in a thread of their own. Only there can one be ended
    after a time whatever it is waiting for: a host's address, a byte of a header, a body.
    """

    def __init__(self, address: Address, secret: Secret) -> None:
        self.num_answers = 0  # of all threads
        self._secret = secret
        self._client = make_client(address, secret)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="analyst endpoint", daemon=True
        )
        self._thread.start()

    def complete(self, request: Mapping[str, Any], timeout_s: float) -> ChatReply | Fault:
        """What comes of one request, which is sent once."""
        received = self._ask(request, timeout_s)
        answer = received if isinstance(received, Fault) else read_chat_reply(received)
        if isinstance(answer, Fault):
            # Hidden before it is cut: half a key is no longer found.
            detail = shorten(self._secret.hide(answer.detail))
            return replace(answer, detail=detail)
        with self._lock:
            self.num_answers += 1
        return replace(answer, content=answer.content and self._secret.hide(answer.content))

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the end."""
        self._ended.wait(seconds)

    def _ask(self, request: Mapping[str, Any], timeout_s: float) -> bytes | Fault:
        stopped = Fault("stopped", "the analyst was closed", "give_up")
        with self._lock:
            if self._ended.is_set():
                return stopped
            exchange = self._exchange(request, timeout_s)
            future = asyncio.run_coroutine_threadsafe(exchange, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            return stopped

    async def _exchange(self, request: Mapping[str, Any], timeout_s: float) -> bytes | Fault:
        import httpx
        import openai

        try:
            async with asyncio.timeout(timeout_s):
                return await self._receive(request)
        except (openai.OpenAIError, httpx.HTTPError, OSError) as error:
            return fault_of(error)

    async def _receive(self, request: Mapping[str, Any]) -> bytes | Fault:
        create = self._client.chat.completions.with_streaming_response.create
        body = bytearray()
        async with create(**request) as response:
            async for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    detail = f"more than {MAX_BODY_BYTES} bytes"
                    return Fault("too_long", detail, "give_up")
        return bytes(body)

    def close(self) -> None:
        """Cancels all requests and ends the thread of the event loop."""
        with self._lock:  # whatever was asked before is among the tasks that are ended
            self._ended.set()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        exchanges = asyncio.all_tasks() - {asyncio.current_task()}
        for exchange in exchanges:
            exchange.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)
        await self._client.close()


def make_client(address: Address, secret: Secret) -> openai.AsyncOpenAI:
    """An OpenAI client without timeouts or retries of its own; both are set per request."""
    import httpx
    import openai

    # As many as there are callers: waiting for one would be taken off a request's time.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE_CONNECTIONS)
    # A client of our own, so that the exceptions are those of one library in every version.
    wire: Any = httpx.AsyncClient(limits=limits, timeout=None, follow_redirects=True)
    return openai.AsyncOpenAI(
        api_key=secret.key or "none",  # an endpoint that needs no key is sent something
        base_url=address.place,
        timeout=None,
        max_retries=0,
        http_client=wire,
    )


def shorten(text: str) -> str:
    """The text cut to `MAX_DETAIL_CHARACTERS`."""
    if len(text) <= MAX_DETAIL_CHARACTERS:
        return text
    return f"{text[:MAX_DETAIL_CHARACTERS]}…"
