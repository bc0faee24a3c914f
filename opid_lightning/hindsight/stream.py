"""AnalysisStream: analyses that run beside the rollout, and the answers in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from opid_lightning.hindsight.analysis_rows import checked
from opid_lightning.hindsight.answers import ask, identity_of
from opid_lightning.hindsight.budget import Budget
from opid_lightning.hindsight.cache import AnalysisCache, CacheFaults, Question
from opid_lightning.hindsight.reply import AnalysisError
from opid_lightning.hindsight.workers import Workers
from opid_lightning.protocols import Analyst
from opid_lightning.types import Analysis, Trajectory, Usage

OVER_BUDGET = "budget"  # the failure of what was not asked, as nothing more may be spent
POLL_S = 0.002  # between turns of an engine that only turns when it is told to


@dataclass(frozen=True)
class Outcome:
    """What became of one submitted trajectory."""

    analysis: Analysis  # its usage is that of requests made for this very trajectory
    is_cached: bool  # answered without a request: by an earlier one, or one for an equal trajectory
    ended_at: float  # on the clock of time.monotonic


@dataclass
class PendingAnalysis:
    """A question on its way to its answer. Equal questions share one."""

    question: Question
    outcome: Outcome | None = None


class AnalysisStream:
    """Asks the analyst about each trajectory in threads, `max_workers` at a time.

    Equal trajectories are asked about once, and those that the cache knows not at all. What is
    asked continues in the background when nobody waits for it any more, and lands in the cache.
    What an analyst raises is raised here, by whatever is called next; the rest is not asked then.
    """

    def __init__(
        self,
        analyst: Analyst,
        cache: AnalysisCache,
        run: str = "",
        max_workers: int = 8,
        budget: Budget = Budget(),
    ) -> None:
        """Takes the cache over, and closes it. `run` is whom the cache books the usage on."""
        self.analyst = analyst
        self.cache = cache
        self.run = run
        self.budget = budget
        self._newly_spent = Usage()
        self._submitted: dict[str, tuple[PendingAnalysis, bool]] = {}  # by trajectory id; first?
        self._pending: dict[str, PendingAnalysis] = {}  # without an outcome yet, by key
        self._awaited: set[str] = set()  # of those, the ones submitted since the last collect
        self._workers = Workers(max_workers, self._analyse, "analyst")
        self._is_closed = False
        self._error: BaseException | None = None
        self._settled = threading.Condition()  # nothing is awaited any more, or something failed

    @property
    def spent(self) -> Usage:
        """What this run has taken so far, by all of its processes, also before it was resumed."""
        return self.cache.spent(self.run)

    def newly_spent(self) -> Usage:
        """What was spent since this was last asked, on late analyses as well."""
        with self._settled:
            spent, self._newly_spent = self._newly_spent, Usage()
            return spent

    def new_faults(self) -> CacheFaults:
        """Of the file of analyses, since this was last asked."""
        return self.cache.new_faults()

    def submit(self, trajectory: Trajectory, candidates: Sequence[int]) -> None:
        """Returns at once. Each trajectory is submitted once between two collects."""
        identity = identity_of(self.analyst, trajectory.task.kind)
        question = Question(trajectory, tuple(candidates), identity)
        with self._settled:
            self._raise_error()
            assert not self._is_closed
            assert trajectory.id not in self._submitted, f"{trajectory.id} submitted twice"
            self._submitted[trajectory.id] = self._pending_of(question)

    def collect(
        self, deadline_s: float | None = None, advance: Callable[[], None] | None = None
    ) -> dict[str, Outcome]:
        """The outcome of every trajectory submitted since the last call, by its id.

        After `deadline_s` (none: however long it takes) what has no outcome is `late`; of that,
        what no worker has begun is not asked any more. `advance` is called again and again
        meanwhile, for an analyst that waits for the calling thread.
        """
        until = None if deadline_s is None else time.monotonic() + deadline_s
        while self._is_waiting(until, POLL_S if advance else None):
            if advance:
                advance()
        with self._settled:
            self._raise_error()
            self._drop_waiting()
            submitted, self._submitted = self._submitted, {}
            self._awaited.clear()
            late = Analysis(None, "late", f"no answer {deadline_s} s after the rollout")
            lost = Outcome(late, False, time.monotonic())
            return {name: outcome_of(*ticket) or lost for name, ticket in submitted.items()}

    def close(self) -> None:
        """Does not wait for requests that are out; the last of them closes the cache."""
        with self._settled:
            self._is_closed = True
            self._drop_waiting()
            self._workers.close()
            self._close_cache_after_the_last()

    def _pending_of(self, question: Question) -> tuple[PendingAnalysis, bool]:
        """That of an equal question that is out, or a new one; and whether it is new."""
        pending = self._pending.get(question.key)
        is_new = pending is None
        if pending is None:
            pending = PendingAnalysis(question, self._known(question))
            if pending.outcome is not None:
                return pending, is_new
            self._pending[question.key] = pending
            self._workers.submit(pending)
        self._awaited.add(question.key)
        return pending, is_new

    def _known(self, question: Question) -> Outcome | None:
        known = self.cache.get(question.key)
        return None if known is None else Outcome(known, True, time.monotonic())

    def _analyse(self, pending: PendingAnalysis) -> None:
        """In a thread: finds the outcome, or why nothing more can be asked."""
        try:
            # Another process may have asked since it was submitted.
            outcome = self._known(pending.question) or self._ask(pending.question)
        except BaseException as error:
            self._fail(pending, error)
        else:
            self._finish(pending, outcome)

    def _ask(self, question: Question) -> Outcome:
        if self.budget != Budget() and (exceeded := self.budget.exceeded_by(self.spent)):
            return Outcome(Analysis(None, OVER_BUDGET, exceeded), False, time.monotonic())
        analysis = usable(ask(self.analyst, question), question)
        if self._is_closed and analysis.skills is None:
            self.cache.book(question, analysis, self.run)  # it failed as its analyst was closed
        else:
            analysis = self.cache.put(question, analysis, self.run)
        return Outcome(analysis, False, time.monotonic())

    def _finish(self, pending: PendingAnalysis, outcome: Outcome) -> None:
        with self._settled:
            pending.outcome = outcome
            self._newly_spent += outcome.analysis.usage
            self._forget(pending)

    def _fail(self, pending: PendingAnalysis, error: BaseException) -> None:
        with self._settled:
            self._error = self._error or error
            self._drop_waiting()
            self._forget(pending)
            self._settled.notify_all()

    def _forget(self, pending: PendingAnalysis) -> None:
        del self._pending[pending.question.key]
        self._awaited.discard(pending.question.key)
        if not self._awaited:
            self._settled.notify_all()
        self._close_cache_after_the_last()

    def _drop_waiting(self) -> None:
        for pending in self._workers.drop_waiting():
            del self._pending[pending.question.key]

    def _close_cache_after_the_last(self) -> None:
        if self._is_closed and not self._pending:
            self.cache.close()

    def _is_waiting(self, until: float | None, poll_s: float | None) -> bool:
        """Waits until all is there, or the time is up, or for `poll_s`; whether to continue."""
        with self._settled:
            left = None if until is None else until - time.monotonic()
            if not self._awaited or self._error or (left is not None and left <= 0):
                return False
            self._settled.wait(left if poll_s is None else min(poll_s, left or poll_s))
            return True

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def outcome_of(pending: PendingAnalysis, is_first: bool) -> Outcome | None:
    """The outcome as it is for one of those who asked; the first of them has paid."""
    if pending.outcome is None or is_first:
        return pending.outcome
    return replace(
        pending.outcome, analysis=replace(pending.outcome.analysis, usage=Usage()), is_cached=True
    )


def usable(analysis: Analysis, question: Question) -> Analysis:
    """What an analyst returned, whichever it is, after the checks of what the cache returns."""
    try:
        return checked(analysis, question.candidates)
    except AnalysisError as error:
        return Analysis(None, error.reason, error.detail, analysis.usage)
