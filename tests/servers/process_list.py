"""Which processes there are, to see that none is left."""

from __future__ import annotations

import subprocess
import time


def group_of(leader: int) -> dict[int, str]:
    """Command lines of a process group, by process id; the dead that nobody has buried left out."""
    command = ["ps", "-ww", "-eo", "pid=,pgid=,stat=,args="]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=3) for line in shown.splitlines()]
    return {
        int(pid): line
        for pid, group, state, line in rows
        if int(group) == leader and not state.startswith("Z")
    }


def is_gone(leader: int, within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while group_of(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
