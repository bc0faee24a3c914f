"""SkillExtraction: has every finished trajectory analysed while the others still play."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from opid_lightning.callbacks.analysis_account import Account, account_of, of_all_ranks, summary
from opid_lightning.callbacks.analysis_failures import (
    FailurePolicy,
    OnLowSuccess,
    Recent,
    reasons_of,
)
from opid_lightning.callbacks.analysis_schedule import Schedule
from opid_lightning.callbacks.step_choice import ChosenBy, StepChoice, keep_steps
from opid_lightning.hindsight.budget import Budget
from opid_lightning.hindsight.cache import AnalysisCache
from opid_lightning.hindsight.stream import OVER_BUDGET, AnalysisStream, Outcome
from opid_lightning.method.critical_steps import CriticalSteps
from opid_lightning.protocols import Analyst, AsksPolicy, PolicyClient
from opid_lightning.training.hooks import RolloutCallback, iteration_number, ranks_of
from opid_lightning.training.implementation_checks import check_implements
from opid_lightning.types import Hindsight, Trajectory, Usage
from opid_lightning.value_checks import LONGEST_S, check_range

CACHE = "analyses.sqlite"


class SkillExtraction(RolloutCallback):
    """Owns the analyst. Without this callback a run has no skills and is plain GRPO.

    Iterations are counted from 1 here: number n is analysed where `start_after < n <=
    stop_after`, and after `failed_only_after` only its failures are.

    Args:
        analyst: writes the skills; called from up to `max_workers` threads.
        max_workers: trajectories that are analysed at the same time.
        deadline_s: how long the end of the rollout is waited after; what is late has no skills in
            this iteration, and is kept for the next time. None waits for all.
        start_after: iterations at the start that go without skills, as all do while the weights
            of both levels are 0.
        stop_after: the last iteration with skills; none is all.
        failed_only_after: the last iteration whose successes are analysed; none is all.
        critical_steps: whose choice they are: the `analyst`'s; that of `statistics`, which are
            made when the rollout is over, so that nothing is streamed; or of `both`, by which
            the analyst's step skills are dropped where statistics do not agree.
        statistics: how they choose, by the discounted returns from equal observations.
        cache: a file that keeps all analyses, so that none is paid for twice; several runs may
            share it. None is `analyses.sqlite` in the run's folder.
        budget: the cost at which nothing more is asked; what a resumed run spent before counts.
            The run then continues without new skills.
        max_tokens_spent: the same in tokens of prompts and completions.
        min_success_share: of the last `window` analyses, how many at least have to succeed.
        window: analyses over which that share is taken.
        on_low_success: whether the run stops where fewer succeed, or goes on as GRPO with a
            warning in each iteration.
    """

    def __init__(
        self,
        analyst: Analyst,
        max_workers: int = 8,
        deadline_s: float | None = 120.0,
        start_after: int = 0,
        stop_after: int | None = None,
        failed_only_after: int | None = None,
        critical_steps: ChosenBy = "analyst",
        statistics: CriticalSteps = CriticalSteps(),
        cache: str | None = None,
        budget: float | None = None,
        max_tokens_spent: int | None = None,
        min_success_share: float = 0.5,
        window: int = 64,
        on_low_success: OnLowSuccess = "stop",
    ) -> None:
        check_waiting(max_workers, deadline_s)
        check_implements("analyst", analyst, Analyst)
        self.analyst = analyst
        self.max_workers = max_workers
        self.deadline_s = deadline_s
        self.schedule = Schedule(start_after, stop_after, failed_only_after)
        self.step_choice = StepChoice(critical_steps, statistics)
        self.cache = None if cache is None else Path(cache).absolute()  # environments may chdir
        self.budget = Budget(budget, max_tokens_spent)
        self.failure_policy = FailurePolicy(min_success_share, window, on_low_success)
        self.total = Account()  # of all iterations so far
        self._recent = Recent(window)
        self._stream: AnalysisStream | None = None
        self._client: PolicyClient | None = (
            None  # of the rollout, where the analyst asks the policy
        )
        self._began_at = 0.0
        self._is_over_budget = False
        self._is_uncounted = False
        self._metrics: dict[str, float] = {}

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Fails here, and not after the first rollout, where the analyst cannot work."""
        if not uses_skills(trainer):
            return
        folder = Path(trainer.default_root_dir).absolute()
        cache = AnalysisCache(self.cache or folder / CACHE)
        self._stream = AnalysisStream(
            self.analyst, cache, str(folder), self.max_workers, self.budget
        )
        self.analyst.start()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.register_hindsight("SkillExtraction", partial(self.collect, trainer))

    def on_stage_start(self, trainer: lightning.Trainer, stage: str, total: int) -> None:
        """Starts the clock from which seconds to the first answer are counted."""
        if stage == "rollout":
            self._began_at = time.monotonic()

    def on_rollout_start(self, trainer: lightning.Trainer, client: PolicyClient) -> None:
        """Hands the client to an analyst that asks the policy itself."""
        if isinstance(self.analyst, AsksPolicy):
            self._client = client
            self.analyst.listen(client)

    def on_trajectory_end(self, trainer: lightning.Trainer, trajectory: Trajectory) -> None:
        """Submits the trajectory, unless statistics choose its critical steps later."""
        if self._stream is not None and self.step_choice.can_stream:
            self._submit(trainer, trajectory, range(len(trajectory.steps)))

    def collect(self, trainer: lightning.Trainer, trajectories: Sequence[Trajectory]) -> Hindsight:
        """What the analyst made of this rank's trajectories, within the deadline."""
        if self._stream is None:
            return Hindsight()
        ended_at = time.monotonic()
        outcomes, num_dropped = self._outcomes(trainer, self._stream, trajectories)
        exposed_s = time.monotonic() - ended_at
        spent = self._stream.newly_spent()
        faults = self._stream.new_faults()
        account = account_of(outcomes, self._began_at, spent, exposed_s, num_dropped, faults)
        # Of all ranks, so that all of them log the same, and stop together.
        parts = ranks_of(trainer).gather((account, reasons_of(outcomes)))
        account = of_all_ranks([account for account, _ in parts])
        self._recent.add(reason for _, reasons in parts for reason in reasons)
        self._metrics = account.metrics()
        self.total += account
        self._say_over_budget(account.over_budget)
        if account.succeeded > account.cached:
            self._say_uncounted(account.usage)
        self.failure_policy.judge(self._recent, iteration_number(trainer) + 1)
        return hindsight_of(outcomes)

    def _say_uncounted(self, spent: Usage) -> None:
        if not self._is_uncounted and (reason := self.budget.uncounted_by(spent)):
            self._is_uncounted = True
            rank_zero_warn(f"The budget for analyses will never be used up: {reason}.")

    def _say_over_budget(self, num_trajectories: int) -> None:
        if num_trajectories and not self._is_over_budget:
            self._is_over_budget = True
            rank_zero_warn(
                "The budget for analyses is used up. The run continues without new skills, as "
                "GRPO where it has none; analysis/over_budget counts these trajectories. To spend "
                "more, raise callbacks.skill_extraction.budget or .max_tokens_spent."
            )

    def _submit(
        self, trainer: lightning.Trainer, trajectory: Trajectory, candidates: Sequence[int]
    ) -> None:
        assert self._stream is not None
        if self.schedule.wants(iteration_number(trainer) + 1, trajectory.won):
            self._stream.submit(trajectory, candidates)

    def _outcomes(
        self,
        trainer: lightning.Trainer,
        stream: AnalysisStream,
        trajectories: Sequence[Trajectory],
    ) -> tuple[Mapping[str, Outcome], int]:
        """By trajectory id, and how many step skills statistics did not agree with."""
        advance = self._client.advance if self._client else None
        if self.step_choice.chosen_by == "analyst":
            return stream.collect(self.deadline_s, advance), 0
        gamma = trainer.datamodule.advantage.gamma  # type: ignore[attr-defined]
        chosen = self.step_choice.of_statistics(trajectories, gamma)
        if not self.step_choice.can_stream:
            for trajectory in trajectories:
                self._submit(trainer, trajectory, chosen[trajectory.id])
        return keep_steps(stream.collect(self.deadline_s, advance), chosen)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Logs `analysis/*` of the iteration."""
        if self._stream is not None:
            pl_module.log_dict(self._metrics, on_step=False, on_epoch=True)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Prints requests, tokens and cost of the whole run, resumed parts included."""
        if self._stream is None or not self.total.submitted or not trainer.is_global_zero:
            return
        print(f"\n{summary(self.total, self._stream.spent)}")
        totals = {f"total/{name}": value for name, value in self.total.metrics().items()}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(totals)

    def state_dict(self) -> dict[str, Any]:
        """What was spent so far, and the last outcomes, by which failure is judged."""
        return {"total": self.total.as_state(), "recent": self._recent.reasons}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the account of a resumed run."""
        self.total = Account.of_state(state_dict["total"])
        self._recent.add(state_dict["recent"])

    def teardown(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Closes analyst and cache; analyses still out are dropped."""
        self._stop(trainer)

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Closes them as well; Lightning tears nothing down after an exception."""
        self._stop(trainer)

    def _stop(self, trainer: lightning.Trainer) -> None:
        if self._stream is not None:
            trainer.datamodule.register_hindsight("SkillExtraction", None)  # type: ignore[attr-defined]
            self._stream.close()
            self._stream = None
            self.analyst.close()


def uses_skills(trainer: lightning.Trainer) -> bool:
    """Whether any weight makes use of skills: an analysis that nobody reads is not paid for."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return bool(data.uses("episode") or data.uses("step"))


def hindsight_of(outcomes: Mapping[str, Outcome]) -> Hindsight:
    """Skills and failures by trajectory id; what the budget left out is neither."""
    analyses = {name: outcome.analysis for name, outcome in outcomes.items()}
    return Hindsight(
        skills={name: a.skills for name, a in analyses.items() if a.skills is not None},
        failures={
            name: a.failure
            for name, a in analyses.items()
            if a.skills is None and a.failure != OVER_BUDGET
        },
    )


def check_waiting(max_workers: int, deadline_s: float | None) -> None:
    """Raises ValueError for a number of threads or a deadline (seconds) out of range."""
    check_range("SkillExtraction.max_workers", max_workers, at_least=1)
    check_range(
        "SkillExtraction.deadline_s",
        deadline_s,
        at_least=0,
        at_most=LONGEST_S,
        or_null=True,
        hint="null waits for all",
    )
