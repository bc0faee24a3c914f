"""In which order episodes are shown, and how much of them at first."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

SHORT = 3  # steps

_Shown = TypeVar("_Shown")


def again_and_again(shown: list[_Shown], rng: random.Random) -> Iterator[_Shown]:
    """All in a new order each time."""
    while True:
        rng.shuffle(shown)
        yield from shown


@dataclass(frozen=True)
class Curriculum:
    """How much of an episode is shown, by how far the training is.

    Looking a thing up among a few others is learned long before looking it up among many.
    """

    short_until: float  # share of the training that shows the first steps alone
    whole_from: float  # share of it from which episodes are shown whole

    def __call__(self, progress: float, max_steps: int) -> int:
        """How many steps to show when this share of the training is done."""
        grown = (progress - self.short_until) / (self.whole_from - self.short_until)
        return round(SHORT + (max_steps - SHORT) * min(1.0, max(0.0, grown)))
