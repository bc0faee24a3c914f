"""Processes that outlive the worker which started them, in sessions of their own. On Linux alone.

Killing a worker's group does not reach them. A worker adopts what its children leave behind
(`adopt_orphans`), and the process that it was forked from adopts what the worker leaves.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
MARK = "OPID_LIGHTNING_WORKERS"  # an environment variable that all of them inherit
LIMIT_S = 5.0
PAUSE_S = 0.01


def adopt_orphans() -> None:
    """Has Linux give orphaned descendants to this process; elsewhere it does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(but: Collection[int]) -> None:
    """Kills this process's children but these, and theirs, which it adopts in turn."""
    deadline = time.monotonic() + LIMIT_S
    while strays := set(children_of(os.getpid())).difference(but):
        for stray in strays:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(stray, signal.SIGKILL)
                os.waitpid(stray, os.WNOHANG)
        if time.monotonic() > deadline:
            return
        time.sleep(PAUSE_S)


def end_marked(mark: str) -> None:
    """Kills every process that was started with this mark, whoever its parent is now."""
    deadline = time.monotonic() + LIMIT_S
    while (found := list(marked(mark))) and time.monotonic() < deadline:
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(PAUSE_S)


def children_of(parent: int) -> Iterator[int]:
    """The process ids of direct children, from /proc."""
    for folder in processes():
        with suppress(OSError):
            if int(status_of(folder)[1]) == parent:
                yield int(folder.name)


def marked(mark: str) -> Iterator[int]:
    """Those that are dead and not yet buried have no environment."""
    wanted = f"{MARK}={mark}".encode()
    for folder in processes():
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def processes() -> Iterator[Path]:
    """A folder of /proc for each running process."""
    return Path("/proc").glob("[0-9]*")


def status_of(folder: Path) -> list[str]:
    """State, parent and further fields: what follows the name, which may hold anything."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
