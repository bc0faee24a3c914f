"""keydoor in which single games die, hang or fail, each once, as files in a folder say."""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import resource
import signal
import stat
import struct
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


def connection() -> int:
    """The descriptor by which the worker answers, which anything in it may write to."""
    sockets = (fd for fd in range(3, 256) if is_socket(fd))
    return next(sockets)


def is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def answer(message: bytes, announced: int | None = None) -> None:
    size = len(message) if announced is None else announced
    os.write(connection(), struct.pack("!i", size) + message)


def drip(folder: Path) -> None:
    answer(b"", announced=1000)
    for _ in range(1000):
        os.write(connection(), b"x")
        time.sleep(0.2)


def answer_half(folder: Path) -> None:
    answer(b"x" * 10, announced=1000)
    time.sleep(60)


def answer_twice(folder: Path) -> None:
    answer(pickle.dumps((True, None)))


def write_session_down(folder: Path, program: str) -> None:
    """Starts a process in a session of its own, and waits until its id is in `processes`."""
    place = folder / "processes"
    rest = f"open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    subprocess.Popen([sys.executable, "-c", f"import os, time; {program}; {rest}"])
    while not (place.exists() and place.read_text()):
        time.sleep(0.02)


# Its parent ends at once, so that it is nobody's child but by adoption.
DAEMON = "os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)"


def leave_daemon(folder: Path) -> None:
    write_session_down(folder, DAEMON)
    time.sleep(60)


def leave_session_and_end(folder: Path) -> None:
    write_session_down(folder, "os.setsid()")
    os._exit(3)


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
    "stop": lambda folder: os.kill(os.getpid(), signal.SIGSTOP),
    "answer_half": answer_half,
    "drip": drip,
    "answer_garbage": lambda folder: answer(b"\x93 this is no pickle"),
    "answer_other": lambda folder: answer(pickle.dumps((True,))),
    "answer_class": lambda folder: answer(b"cno_such_module\nThing\n."),
    "answer_twice": answer_twice,
    "print": lambda folder: os.write(connection(), b"Loading the maze...\n"),
    "announce": lambda folder: answer(b"", announced=-7),
    "leave_daemon": leave_daemon,
    "leave_session_and_end": leave_session_and_end,
}
