"""Runs a command for as long as another process lives: `python watch.py PID COMMAND...`.

A server must end with its trainer however that ended, and `kill -9` runs no clean-up there. The
watch leads a process group of its own, in which the command and all that it starts live, and ends
the whole group with the command or with the process PID, its parent. It is run by its path and
knows the standard library alone, so that it costs next to nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

INTERVAL_S = 0.2
GRACE_S = 5.0  # between asking and killing


def watch(parent: int, command: list[str]) -> None:
    """Runs the command; ends its process group once it or the parent process ends."""
    # The group is asked to end by a signal that must not end the watch before it has swept up.
    # A handler does not pass on to the command, as ignoring would.
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = subprocess.Popen(command)
    while child.poll() is None and os.getppid() == parent:
        time.sleep(INTERVAL_S)
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(INTERVAL_S)
    print(f"watch: the server ended with code {child.returncode}", flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2:])
