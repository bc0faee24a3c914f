"""Episodes that are shown in part at first."""

from __future__ import annotations

from dataclasses import dataclass

SHORT = 3  # steps


@dataclass(frozen=True)
class Lengthening:
    """How much of an episode is shown, by how far the training is.

    Looking a thing up among a few others is learned long before looking it up among many.
    """

    short_until: float  # share of the training that shows the first steps alone
    whole_from: float  # share of it from which episodes are shown whole

    def __call__(self, progress: float, max_steps: int) -> int:
        grown = (progress - self.short_until) / (self.whole_from - self.short_until)
        return round(SHORT + (max_steps - SHORT) * min(1.0, max(0.0, grown)))
