"""SkillExtraction: has every finished trajectory analysed while the others still play."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import lightning

from opid_lightning.hooks import RolloutCallback, iteration_number
from opid_lightning.protocols import Analyst
from opid_lightning.skills.replay import record as append_to_record
from opid_lightning.types import Analysis, Hindsight, Skills, Trajectory


class SkillExtraction(RolloutCallback):
    """Owns the analyst. Without this callback a run has no skills and is plain GRPO.

    Iterations are counted from 1 here: number n is analysed where `start_after < n <=
    stop_after`, and after `failed_only_after` only its failures are.

    Args:
        analyst: writes the skills; called from up to `max_workers` threads.
        max_workers: trajectories that are analysed at the same time.
        start_after: iterations at the start that go without skills, as all do while the weights
            of both levels are 0.
        stop_after: the last iteration with skills; none is all.
        failed_only_after: the last iteration whose successes are analysed; none is all.
        record: a file to which every analysis is added, for the analyst `Replay`.
    """

    def __init__(
        self,
        analyst: Analyst,
        max_workers: int = 8,
        start_after: int = 0,
        stop_after: int | None = None,
        failed_only_after: int | None = None,
        record: str | None = None,
    ) -> None:
        check_schedule(max_workers, start_after, stop_after, failed_only_after)
        self.analyst = analyst
        self.max_workers = max_workers
        self.start_after = start_after
        self.stop_after = stop_after
        self.failed_only_after = failed_only_after
        self.record = record
        self._pool: ThreadPoolExecutor | None = None
        self._analyses: dict[str, Future[Analysis]] = {}

    def wants(self, iteration: int, won: bool) -> bool:
        """Whether the schedule has a trajectory of this iteration, counted from 1, analysed."""
        if iteration <= self.start_after:
            return False
        if self.stop_after is not None and iteration > self.stop_after:
            return False
        return not won or self.failed_only_after is None or iteration <= self.failed_only_after

    def on_trajectory_end(self, trainer: lightning.Trainer, trajectory: Trajectory) -> None:
        if not self.wants(iteration_number(trainer) + 1, trajectory.won) or not uses_skills(
            trainer
        ):
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.max_workers, thread_name_prefix="analyst")
        self._analyses[trajectory.id] = self._pool.submit(
            self.analyst, trajectory, range(len(trajectory.steps))
        )

    def on_rollout_end(
        self, trainer: lightning.Trainer, trajectories: Sequence[Trajectory]
    ) -> Hindsight:
        analyses, self._analyses = self._analyses, {}
        skills: dict[str, Skills] = {}
        failures: dict[str, str] = {}
        for trajectory in trajectories:
            if trajectory.id not in analyses:
                continue
            outcome = await_outcome(analyses[trajectory.id])
            if isinstance(outcome, str):
                failures[trajectory.id] = outcome
            else:
                skills[trajectory.id] = outcome
            if self.record is not None:
                append_to_record(self.record, trajectory, outcome)
        return Hindsight(skills, failures)

    def teardown(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        self._stop()

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None
        self._analyses = {}


def uses_skills(trainer: lightning.Trainer) -> bool:
    """Whether any weight makes use of skills: an analysis that nobody reads is not paid for."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return bool(data.uses("episode") or data.uses("step"))


def await_outcome(analysis: Future[Analysis]) -> Skills | str:
    """The skills, or why there are none. Errors rise."""
    found = analysis.result()
    return found.failure if found.skills is None else found.skills


def check_schedule(
    max_workers: int, start_after: int, stop_after: int | None, failed_only_after: int | None
) -> None:
    if max_workers < 1:
        raise ValueError(f"SkillExtraction.max_workers is {max_workers}; expected 1 or more.")
    for name, value in (("start_after", start_after), ("failed_only_after", failed_only_after)):
        if value is not None and value < 0:
            raise ValueError(f"SkillExtraction.{name} is {value}; expected 0 or more.")
    if stop_after is not None and stop_after <= start_after:
        raise ValueError(
            f"SkillExtraction would never run: stop_after is {stop_after} and start_after is "
            f"{start_after}. Raise stop_after, or remove the callback for plain GRPO."
        )
