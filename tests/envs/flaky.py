"""keydoor in which single games die, hang or fail, each once, as files in a folder say."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.protocols import Session, SessionLostError
from opid_lightning.types import Observation, Opening, Task


@dataclass(frozen=True)
class Flaky(Keydoor):
    """The first session that finds a file `<task>.<method>` misbehaves as its content says.

    A file `any.open` is for the next session that opens.
    """

    folder: str = ""

    def open(self) -> Session:
        misbehave(Path(self.folder), "any.open")
        return FlakyGame(super().open(), Path(self.folder))

    def plan(self, fault: str, method: str, task: Task | None = None) -> None:
        (Path(self.folder) / f"{task.id if task else 'any'}.{method}").write_text(fault)


class Unpicklable(Keydoor):
    def __getstate__(self) -> dict[str, object]:
        return {"lock": threading.Lock()}


class Unbuildable(Keydoor):
    def __setstate__(self, state: object) -> None:
        raise LookupError("no licence on this machine")


@dataclass
class FlakyGame:
    game: Session
    folder: Path
    task_id: str = ""

    def reset(self, task: Task) -> Opening:
        self.task_id = task.id
        misbehave(self.folder, f"{task.id}.reset")
        return self.game.reset(task)

    def step(self, action: str) -> Observation:
        misbehave(self.folder, f"{self.task_id}.step")
        return self.game.step(action)

    def close(self) -> None:
        self.game.close()


def misbehave(folder: Path, name: str) -> None:
    try:
        fault = (folder / name).read_text()
        (folder / name).unlink()  # so that of several sessions one alone goes on
    except FileNotFoundError:
        return
    FAULTS[fault](folder)


class UnbuildableError(Exception):
    """As many are: its argument is not that of its class."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number} is wrong")


def run_out_of_memory(folder: Path) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**26, resource.RLIM_INFINITY))
    bytearray(2**30)


def write_down_and_wait(folder: Path) -> None:
    """Its process id, for whoever wants to kill it, and that of one that it starts."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    half_written = folder / "half.written"
    half_written.write_text(f"{os.getpid()} {child.pid}")
    half_written.rename(folder / "processes")
    time.sleep(60)


def fail(folder: Path) -> None:
    raise LookupError("the maze has no such room")


def fail_unpicklably(folder: Path) -> None:
    raise UnbuildableError(7)


def lose(folder: Path) -> None:
    raise SessionLostError("no_answer", "the other side is silent")


FAULTS: Mapping[str, Callable[[Path], object]] = {
    "exit": lambda folder: os._exit(3),
    "leave": lambda folder: sys.exit(4),
    "segfault": lambda folder: ctypes.string_at(0),
    "memory": run_out_of_memory,
    "sleep": lambda folder: time.sleep(60),
    # Backtracks for hours without ever giving the interpreter up.
    "compute": lambda folder: re.match(r"(a+)+$", "a" * 60 + "b"),
    "wait": write_down_and_wait,
    "fail": fail,
    "fail_unpicklably": fail_unpicklably,
    "lose": lose,
}
