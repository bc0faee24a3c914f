"""A request to another process and its answer, within a time limit whatever that process does.

Messages are framed as multiprocessing's connections frame them. Those wait without a limit for the
rest of a message that has begun, and take whatever number comes first for its length.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import time
from multiprocessing.connection import Connection
from typing import Any

MAX_ANSWER_BYTES = 1 << 30
LONG = 0x7FFFFFFF  # a longer message has its length in eight further bytes
CHUNK_BYTES = 1 << 20


class UnreadableError(Exception):
    """What came is no answer."""


def ask(connection: Connection, request: bytes, timeout_s: float) -> bytes:
    """Raises TimeoutError, EOFError or ConnectionError where it ended, and UnreadableError."""
    deadline = time.monotonic() + timeout_s
    check_silent(connection)
    send(connection, request, deadline)
    return receive(connection, deadline)


def unpickled(message: bytes) -> Any:
    """The object in a message; raises UnreadableError whatever goes wrong in it."""
    try:
        return pickle.loads(message)
    except Exception as error:  # of any class: it runs what the message says
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def check_silent(connection: Connection) -> None:
    """What stands there already answers nothing; the next answer would be taken for this one's."""
    if connection.poll(0):
        with socket.socket(fileno=os.dup(connection.fileno())) as peeked:
            if not peeked.recv(1, socket.MSG_PEEK):
                raise EOFError
        raise UnreadableError("it wrote before it was asked")


def send(connection: Connection, message: bytes, deadline: float) -> None:
    """Writes a message with its length in front; raises TimeoutError past the deadline."""
    size = len(message)
    header = struct.pack("!i", size) if size <= LONG else struct.pack("!iQ", -1, size)
    rest = memoryview(header + message)
    descriptor = connection.fileno()
    os.set_blocking(descriptor, False)
    while rest:
        wait_until(descriptor, select.POLLOUT, deadline)
        rest = rest[os.write(descriptor, rest[:CHUNK_BYTES]) :]


def receive(connection: Connection, deadline: float) -> bytes:
    """Reads one message; raises TimeoutError, EOFError, or UnreadableError for an absurd length."""
    (size,) = struct.unpack("!i", read(connection, 4, deadline))
    if size == -1:
        (size,) = struct.unpack("!Q", read(connection, 8, deadline))
    if not 0 <= size <= MAX_ANSWER_BYTES:
        raise UnreadableError(f"it announces {size} bytes, expected at most {MAX_ANSWER_BYTES}")
    return read(connection, size, deadline)


def read(connection: Connection, size: int, deadline: float) -> bytes:
    """Exactly `size` bytes; raises EOFError where the other end closes before."""
    descriptor = connection.fileno()
    content = bytearray()
    while len(content) < size:
        wait_until(descriptor, select.POLLIN, deadline)
        part = os.read(descriptor, min(size - len(content), CHUNK_BYTES))
        if not part:
            raise EOFError
        content += part
    return bytes(content)


def wait_until(descriptor: int, event: int, deadline: float) -> None:
    """Waits for an event of poll(2); `deadline` is in seconds of `time.monotonic`."""
    poll = select.poll()
    poll.register(descriptor, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(1000 * left_s):
        raise TimeoutError
