"""What a check found, and how it is printed."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from opid_lightning.cli.errors import UsageError


class State(StrEnum):
    """How a checked thing stands; the values are what `doctor` prints."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"
    OPTIONAL = "optional-missing"  # what is checked works without it


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: State
    found: str
    fix: str = ""  # a command line, or empty where none is known

    @property
    def is_fine(self) -> bool:
        """Whether a run works with it as it is."""
        return self.state in (State.OK, State.OPTIONAL)

    def __str__(self) -> str:
        text = " ".join(self.found.split())
        line = f"{self.state:<17}{self.subject:<15} {text}"
        return f"{line}\n{'':<17}fix: {self.fix}" if self.fix else line


Check = Callable[[], Iterable[Finding]]


def examine(subject: str, check: Check) -> Iterator[Finding]:
    """The findings of a check; that it failed is one as well.

    Whatever it raises is of interest to the user, and must not hide what the other checks find.
    """
    try:
        yield from check()
    except UsageError:
        raise
    except Exception as error:
        yield Finding(subject, State.BROKEN, f"{type(error).__name__}: {error}")


def python() -> str:
    """The interpreter that runs, as short as it can be typed."""
    on_path = shutil.which("python")
    return "python" if on_path == sys.executable else shlex.quote(sys.executable)


def pip(*words: str) -> str:
    """A pip command for the interpreter that runs, quoted for a shell."""
    return f"{python()} -m pip {shlex.join(words)}"
