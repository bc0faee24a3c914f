"""A long training's progress: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

MEMORY = 0.98  # of the losses shown, which would jump from batch to batch


class Progress:
    """Called with the figures of each batch. Use it as a context."""

    def __init__(self, num_episodes: int) -> None:
        self._console = Console()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bars.add_task("episodes", total=num_episodes)
        self._line_every = max(1, num_episodes // 50)
        self._next_line = 0
        self._losses: dict[str, float] = {}

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, num_episodes: int, losses: Mapping[str, float]) -> None:
        """Shows running means of the losses after so many episodes."""
        for name, loss in losses.items():
            before = self._losses.get(name, loss)
            self._losses[name] = MEMORY * before + (1 - MEMORY) * loss
        shown = ", ".join(f"{name} {loss:.3f}" for name, loss in self._losses.items())
        self._bars.update(self._task, completed=num_episodes, description=shown)
        if not self._console.is_terminal and num_episodes >= self._next_line:
            self._next_line = num_episodes + self._line_every
            print(f"{num_episodes:,} episodes: {shown}", flush=True)
