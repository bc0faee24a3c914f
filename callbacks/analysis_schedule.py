"""In which iterations which trajectories are analysed."""

from __future__ import annotations

from dataclasses import dataclass

from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class Schedule:
    """Iterations are counted from 1: number n is analysed where `start_after < n <= stop_after`.

    After `failed_only_after` only its failures are.
    """

    start_after: int = 0
    stop_after: int | None = None
    failed_only_after: int | None = None

    def __post_init__(self) -> None:
        for name in ("start_after", "failed_only_after"):
            value, or_null = getattr(self, name), name != "start_after"
            check_range(f"SkillExtraction.{name}", value, at_least=0, or_null=or_null)
        check_range("SkillExtraction.stop_after", self.stop_after, at_least=1, or_null=True)
        if self.stop_after is not None and self.stop_after <= self.start_after:
            raise ValueError(
                f"SkillExtraction would never run: stop_after is {self.stop_after} and start_after "
                f"is {self.start_after}. Raise stop_after, or remove the callback for plain GRPO."
            )

    def wants(self, iteration: int, won: bool) -> bool:
        """Whether a trajectory of this iteration is to be analysed."""
        if iteration <= self.start_after:
            return False
        if self.stop_after is not None and iteration > self.stop_after:
            return False
        return not won or self.failed_only_after is None or iteration <= self.failed_only_after
