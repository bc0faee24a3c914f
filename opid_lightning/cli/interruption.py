"""SIGTERM, SIGINT and SIGHUP: whatever runs ends within seconds, and says what it keeps.

A handler in Python runs between two steps of the main thread, which may be inside a forward, a
write or a library for long. So a thread watches the clock as well: what has not ended by itself
`GRACE_S` after the signal is ended as `kill -9` would, which costs no more than a clean end does,
since files are whole at any moment, and workers and servers end with this process.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

HANGUP = tuple(n for n in [getattr(signal, "SIGHUP", None)] if n)  # a terminal closed; no Windows
SIGNALS = (signal.SIGTERM, signal.SIGINT, *HANGUP)
GRACE_S = 4.5  # a server that a trainer leaves behind takes 5 s more, and 10 s is the promise
AGAIN_S = 1.0  # a second signal after that long is somebody who does not want to wait
MESSAGE_S = 1.0
POLL_S = 0.05


class Interrupted(BaseException):
    """Raised by a signal in the main thread.

    Not KeyboardInterrupt, of which Lightning makes an exit code of its own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def ignore(number: int) -> None:
    """There are no other ranks."""


class Interruption:
    """What a signal does to this process. There is one, as there is one of each signal.

    `kept` says what a run keeps, and `forward` passes the signal on to the other ranks.
    """

    def __init__(self) -> None:
        self.kept: Callable[[], str] = str
        self.forward: Callable[[int], None] = ignore
        self.is_silent = False  # where another rank speaks
        self._arrived_at: float | None = None
        self._pending: int | None = None
        self._is_deferring = False
        self._is_told = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Nothing changes outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = {number: signal.signal(number, self._handle) for number in heeded()}
        # Written to when the signal arrives, whatever the main thread is doing.
        descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            os.close(writing)
            for number, handler in before.items():
                signal.signal(number, handler)
            self.kept, self.forward, self.is_silent = str, ignore, False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_deferring:
            self._pending = number
        elif self._arrived_at is None:
            self._arrived_at = time.monotonic()
            self.forward(number)
            raise Interrupted(number)
        elif time.monotonic() - self._arrived_at > AGAIN_S:
            self._exit(number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A signal that arrives meanwhile counts when the block is over."""
        self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False
        if self._pending is not None:
            self._handle(self._pending, None)

    def _watch(self, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as arrivals:
            while byte := arrivals.read(1):
                if byte[0] in SIGNALS:
                    while self._is_deferring:
                        time.sleep(POLL_S)
                    time.sleep(GRACE_S)
                    self._exit(byte[0])

    def _exit(self, number: int) -> None:
        """At once. The message may not keep it from that."""
        telling = threading.Thread(target=self.tell, args=(number,), daemon=True)
        telling.start()
        telling.join(MESSAGE_S)
        os._exit(128 + number)

    def tell(self, number: int) -> None:
        """Says once what ended the run, and what it keeps."""
        if not self._is_told and not self.is_silent:
            self._is_told = True
            text = f"opid_lightning: ended by {signal.Signals(number).name}. {self.kept()}"
            with suppress(OSError):  # nobody reads it any more
                print(text.rstrip(), file=sys.stderr, flush=True)

    def leave(self, code: int) -> NoReturn:
        """Exits; after a signal without what else Python does at its end.

        That waits for threads which wait for something themselves, and for process groups of
        which other ranks have left, when nobody watches the clock any more.
        """
        if self._arrived_at is not None:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        sys.exit(code)


def heeded() -> list[int]:
    """All but a hangup that was to be ignored, as nohup has it."""
    return [
        number
        for number in SIGNALS
        if number not in HANGUP or signal.getsignal(number) != signal.SIG_IGN
    ]


INTERRUPTION = Interruption()


def leave_to_parent() -> None:
    """A forked process has signals of its own, which must not look like this one's."""
    if signal.getsignal(signal.SIGTERM) == INTERRUPTION._handle:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) == INTERRUPTION._handle:
                signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=leave_to_parent)
