"""An account of analyses: of one iteration, or of all of a run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opid_lightning.callbacks.analysis_failures import reasons_of
from opid_lightning.hindsight.analysts.bank import GENERAL_ALONE
from opid_lightning.hindsight.cache import CacheFaults
from opid_lightning.hindsight.stream import OVER_BUDGET, Outcome
from opid_lightning.types import Usage

NEVER_ANSWERED = ("late", OVER_BUDGET)


@dataclass(frozen=True)
class Account:
    """`submitted` is `succeeded` and all of `failed`: every trajectory counts once."""

    submitted: int = 0
    succeeded: int = 0
    cached: int = 0  # of those that succeeded: without a request of their own
    failed: Mapping[str, int] = field(default_factory=dict)  # by reason
    dropped_step_skills: int = 0  # of steps that statistics did not choose
    usage: Usage = field(default_factory=Usage)  # booked meanwhile, that of late analyses among it
    first_s: float | None = None  # from the start of the rollout to the first answer
    last_s: float | None = None
    exposed_s: float = 0.0  # waited after the end of the rollout
    over_budget: int = 0  # not submitted, as nothing more may be spent
    unstored: int = 0  # that the file of analyses could not take when they came
    rejected: int = 0  # that the file held, and that failed the checks of a reply
    general_alone: int = 0  # of those that succeeded: a bank did not have the task's kind

    def __add__(self, other: Account) -> Account:
        """Counts and waiting add up; the first answer of a run is its soonest, the last its
        latest after the start of its rollout."""
        return Account(
            self.submitted + other.submitted,
            self.succeeded + other.succeeded,
            self.cached + other.cached,
            dict(sorted((Counter(self.failed) + Counter(other.failed)).items())),
            self.dropped_step_skills + other.dropped_step_skills,
            self.usage + other.usage,
            min(known(self.first_s, other.first_s), default=None),
            max(known(self.last_s, other.last_s), default=None),
            self.exposed_s + other.exposed_s,
            self.over_budget + other.over_budget,
            self.unstored + other.unstored,
            self.rejected + other.rejected,
            self.general_alone + other.general_alone,
        )

    @property
    def late(self) -> int:
        """How many analyses missed the deadline."""
        return self.failed.get("late", 0)

    def metrics(self) -> dict[str, float]:
        """Metrics of docs/metrics.md by name; seconds to an answer where there was any."""
        counts = {
            "submitted": self.submitted,
            "succeeded": self.succeeded,
            "cached": self.cached,
            "late": self.late,
            "failed": self.submitted - self.succeeded,
            **{f"failed_{reason}": number for reason, number in self.failed.items()},
            "over_budget": self.over_budget,
            "unstored": self.unstored,
            "rejected": self.rejected,
            "general_alone": self.general_alone,
            "dropped_step_skills": self.dropped_step_skills,
            **dataclasses.asdict(self.usage),
            "exposed_s": self.exposed_s,
        }
        seconds = {"first_s": self.first_s, "last_s": self.last_s}
        counts |= {name: value for name, value in seconds.items() if value is not None}
        return {f"analysis/{name}": float(value) for name, value in counts.items()}

    def as_state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dataclasses.asdict(self) | {"failed": dict(self.failed)}

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Account:
        """The account that `as_state` wrote into a checkpoint."""
        return Account(**{**state, "usage": Usage(**state["usage"])})


def of_all_ranks(accounts: Sequence[Account]) -> Account:
    """Of one iteration; ranks wait at the same time."""
    return replace(sum(accounts, Account()), exposed_s=max(a.exposed_s for a in accounts))


def known(*seconds: float | None) -> list[float]:
    """The values in their order, without None."""
    return [value for value in seconds if value is not None]


def account_of(
    outcomes: Mapping[str, Outcome],
    began_at: float,
    usage: Usage,
    exposed_s: float,
    num_dropped: int = 0,
    faults: CacheFaults = CacheFaults(),
) -> Account:
    """Of one iteration, whose rollout began then on the clock of the outcomes."""
    num_over_budget = sum(o.analysis.failure == OVER_BUDGET for o in outcomes.values())
    successes = [outcome for outcome in outcomes.values() if outcome.analysis.skills is not None]
    failures = Counter(reason for reason in reasons_of(outcomes) if reason)
    answered = [
        outcome.ended_at - began_at
        for outcome in outcomes.values()
        if outcome.analysis.failure not in NEVER_ANSWERED
    ]
    return Account(
        submitted=len(outcomes) - num_over_budget,
        succeeded=len(successes),
        cached=sum(outcome.is_cached for outcome in successes),
        failed=dict(sorted(failures.items())),
        dropped_step_skills=num_dropped,
        usage=usage,
        first_s=min(answered, default=None),
        last_s=max(answered, default=None),
        exposed_s=exposed_s,
        over_budget=num_over_budget,
        general_alone=sum(o.analysis.detail.startswith(GENERAL_ALONE) for o in successes),
        **dataclasses.asdict(faults),
    )


def summary(account: Account, spent: Usage) -> str:
    """What is printed when `fit` ends. `spent` is what the run took, killed iterations too."""
    failed = ", ".join(f"{number} {reason}" for reason, number in account.failed.items())
    lines = [
        f"analyses: {account.succeeded} of {account.submitted} trajectories succeeded, "
        f"{account.cached} of them without a request"
    ]
    if failed:
        lines.append(f"  failed: {failed}")
    if account.general_alone:
        lines.append(f"  without skills for their kind in the bank: {account.general_alone}")
    if account.over_budget:
        lines.append(f"  not asked, as the budget was used up: {account.over_budget}")
    if spent.requests:
        lines.append(
            f"  asked: {spent.requests} requests ({spent.retries} retries, {spent.repairs} "
            f"repairs), {spent.prompt_tokens} tokens in, {spent.completion_tokens} out, "
            f"cost {spent.cost:.4g}"
        )
    if account.last_s is not None:
        lines.append(
            f"  first answer {account.first_s:.2f} s after the start of its rollout, last "
            f"{account.last_s:.2f} s; waited {account.exposed_s:.2f} s for answers after "
            "rollouts had ended"
        )
    return "\n".join(lines)
