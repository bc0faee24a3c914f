"""How far a catalogue is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

LINE_EVERY = 100_000
T = TypeVar("T")
_log = logging.getLogger(__name__)


def counted(things: Iterable[T], name: str) -> Iterator[T]:
    """How many there will be is not known: the files are read in one pass."""
    console = Console(file=sys.stderr)
    columns = TextColumn("{task.completed:,.0f} {task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(name)
        for count, thing in enumerate(things, start=1):
            yield thing
            bars.update(bar, completed=count)
            if count % LINE_EVERY == 0 and not console.is_terminal:
                _log.warning("%s %s", f"{count:,}", name)
