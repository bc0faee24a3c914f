"""What a reader leaves out of a set of files or rows: counted, and reported once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cache


@dataclass
class Omissions:
    """Reasons, each with how many members it left out and the first of them.

    "3 left out: 2 without a question (such as row 4 of q.jsonl), 1 empty (such as ...)"
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, example: object) -> None:
        """Counts something left out; the first of each reason is kept as the example."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.examples.setdefault(reason, str(example))

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        reasons = (
            f"{count:,} {reason} (such as {self.examples[reason]})"
            for reason, count in self.counts.items()
        )
        return f"{len(self):,} left out: {', '.join(reasons)}"

    def report(self, log: logging.Logger, source: object) -> None:
        """Warns, unless nothing was left out or the same was said before."""
        if self:
            warn_once(log, f"{source}: {self}")


@cache
def warn_once(log: logging.Logger, message: str) -> None:
    """Logs a warning the first time that this process is given this message."""
    log.warning("%s", message)
