"""Trying things in a process of their own, which may crash, hang, or import for long."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from opid_lightning.servers.child_environment import child_environment


@dataclass(frozen=True)
class Outcome:
    """How it ended: `problem` is empty where all went well."""

    problem: str
    output: str = ""


def try_python(
    program: str, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Runs a program in this interpreter, apart from the folder that the user is in."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env={**child_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"did not finish in {timeout_s:.0f} s")
    if done.returncode == 0:
        return Outcome("", done.stdout)
    if done.returncode < 0:
        return Outcome(f"crashed with {signal.Signals(-done.returncode).name}")
    return Outcome(last_line(done.stderr) or f"ended with code {done.returncode}")


def last_line(text: str) -> str:
    """Of a traceback, the one that names the error."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else ""
