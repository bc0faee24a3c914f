"""What is done about an analyst that fails too often."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from lightning.pytorch.utilities import rank_zero_warn

from opid_lightning.hindsight.stream import OVER_BUDGET, Outcome
from opid_lightning.value_checks import check_range

OnLowSuccess = Literal["stop", "continue"]

# What could help, by the reason of the failure; of others the analyst is at fault.
REMEDIES = {
    "late": "raise callbacks.skill_extraction.deadline_s or .max_workers",
    "timeout": "raise analyst.timeout_s and analyst.analysis_timeout_s",
    "rate_limited": "lower callbacks.skill_extraction.max_workers",
    **dict.fromkeys(
        ("connection_lost", "connection_refused", "unresolved_host", "server_error"),
        "keep the analyst's server up, or raise analyst.retries",
    ),
    "truncated": "raise analyst.max_tokens",
    "context_too_long": "set analyst.max_record_characters",
    "not_recorded": "replay the file of a run of the same settings and seed",
}
ANOTHER_ANALYST = "choose another analyst.model"


@dataclass(frozen=True)
class FailurePolicy:
    """Judges the last `window` analyses, once there are so many."""

    min_success_share: float = 0.5
    window: int = 64
    on_low_success: OnLowSuccess = "stop"

    def __post_init__(self) -> None:
        share = self.min_success_share
        check_range("SkillExtraction.min_success_share", share, at_least=0, at_most=1)
        check_range("SkillExtraction.window", self.window, at_least=1)
        if self.on_low_success not in get_args(OnLowSuccess):
            raise ValueError(
                f"SkillExtraction.on_low_success is {self.on_low_success!r}; expected "
                f"{' or '.join(get_args(OnLowSuccess))}."
            )

    def judge(self, recent: Recent, iteration: int) -> None:
        """Stops the run where too few analyses succeed, or warns."""
        complaint = self.complaint(recent)
        if complaint and self.on_low_success == "stop":
            raise ValueError(
                f"{complaint} To continue as GRPO where skills are missing: "
                "callbacks.skill_extraction.on_low_success=continue."
            )
        if complaint:
            rank_zero_warn(f"Iteration {iteration} is GRPO where skills are missing. {complaint}")

    def complaint(self, recent: Recent) -> str:
        """What is wrong and which setting could help; blank where enough succeeded."""
        failures = recent.failures
        num_succeeded = len(recent) - failures.total()
        if len(recent) < self.window or num_succeeded >= self.min_success_share * self.window:
            return ""
        counts = ", ".join(f"{number} {reason}" for reason, number in failures.most_common())
        remedies = dict.fromkeys(
            REMEDIES.get(reason, ANOTHER_ANALYST) for reason, _ in failures.most_common()
        )
        return (
            f"Of the last {self.window} analyses {num_succeeded} succeeded, fewer than the share "
            f"of {self.min_success_share:g} asked for by "
            f"callbacks.skill_extraction.min_success_share; failed: {counts}. "
            f"What may help: {'; '.join(remedies)}."
        )


class Recent:
    """The failures of the last `window` analyses, blank where one succeeded."""

    def __init__(self, window: int) -> None:
        self._reasons: deque[str] = deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, reasons: Iterable[str]) -> None:
        """Counts one analysis per reason; a blank reason is a success. The oldest fall out."""
        self._reasons.extend(reasons)

    @property
    def reasons(self) -> list[str]:
        """The last `window` reasons, oldest first, as a checkpoint keeps them."""
        return list(self._reasons)

    @property
    def failures(self) -> Counter[str]:
        """How often each reason occurs among them, successes left out."""
        return Counter(reason for reason in self._reasons if reason)


def reasons_of(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The failure of each that was asked, blank of a success, in the order in which they ended."""
    ended = sorted(outcomes.values(), key=lambda outcome: outcome.ended_at)
    return [o.analysis.failure for o in ended if o.analysis.failure != OVER_BUDGET]
