"""A server's life: started with a log of its own, waited for, stopped with all that it started."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

WATCH = Path(__file__).with_name("watch.py")
TAIL_LINES, TAIL_ERRORS = 15, 5  # of a log, in a message
NAMED_ERROR = re.compile(r"\b\w*(Error|Exception): .*")
STOP_S = 10.0  # longer than the watch gives the server
CLEARING_S = 0.02


@dataclass
class ServerProcess:
    """One command, run under a watch that ends it with this process, whichever way that ends."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    _watch: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Starts it under a watch process, which ends it when this process ends."""
        assert self._watch is None, "it was started already"
        watched = [sys.executable, "-I", str(WATCH), str(os.getpid()), *self.command]
        with self.log.open("ab") as log:
            self._watch = subprocess.Popen(
                watched,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the trainer, which stops it in turn
            )

    @property
    def is_running(self) -> bool:
        """Whether its watch process is alive."""
        return self._watch is not None and self._watch.poll() is None

    @property
    def leader(self) -> int | None:
        """The process id, and group, of the watch; none before it is started or once stopped."""
        return None if self._watch is None else self._watch.pid

    def stop(self) -> None:
        """Ends it and every process of its group; does nothing where it was never started."""
        if self._watch is None:
            return
        watch, self._watch = self._watch, None
        if watch.poll() is None:
            os.killpg(watch.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                watch.wait(STOP_S)
        # Where the watch itself was killed, the rest of its group lives on; and what was killed
        # is there until the system has cleared it away.
        deadline = time.monotonic() + STOP_S
        with suppress(ProcessLookupError):
            os.killpg(watch.pid, signal.SIGKILL)
            watch.wait()
            while time.monotonic() < deadline:
                os.killpg(watch.pid, 0)
                time.sleep(CLEARING_S)
        watch.wait()

    def log_tail(self) -> str:
        """Its last lines, after the errors it names: vLLM's causes stand far above its end."""
        lines = self.log.read_text(errors="replace").splitlines()
        named = [match[0] for line in lines if (match := NAMED_ERROR.search(line))]
        shown = [*list(dict.fromkeys(named))[-TAIL_ERRORS:], "...", *lines[-TAIL_LINES:]]
        return "\n".join([f"From its log, {self.log}:", *(f"  {line}" for line in shown)])


def free_port() -> int:
    """A port of this host that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
