"""Which steps skills may be about: the analyst's choice, that of statistics, or of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from opid_lightning.hindsight.stream import Outcome
from opid_lightning.method.critical_steps import CriticalSteps, statistically_critical
from opid_lightning.types import Skills, Trajectory

ChosenBy = Literal["analyst", "statistics", "both"]


@dataclass(frozen=True)
class StepChoice:
    """Statistics compare attempts at one task, so they have to wait for the last of them.

    chosen by     the analyst is asked about       when             its step skills are kept
    analyst       all steps                        at once          all
    statistics    steps that statistics choose     after rollout    all
    both          all steps                        at once          where statistics agree
    """

    chosen_by: ChosenBy
    statistics: CriticalSteps

    def __post_init__(self) -> None:
        if self.chosen_by not in get_args(ChosenBy):
            raise ValueError(
                f"SkillExtraction.critical_steps is {self.chosen_by!r}; expected one of "
                f"{', '.join(get_args(ChosenBy))}."
            )

    @property
    def can_stream(self) -> bool:
        """Whether analyses can start before the rollout ends; statistics need the whole group."""
        return self.chosen_by != "statistics"

    def of_statistics(
        self, trajectories: Sequence[Trajectory], gamma: float
    ) -> Mapping[str, tuple[int, ...]]:
        """Of each trajectory, by its id."""
        return statistically_critical(trajectories, gamma, self.statistics)


def keep_steps(
    outcomes: Mapping[str, Outcome], steps: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Outcome], int]:
    """The outcomes with step skills at these steps alone, and how many others were dropped."""
    kept = {name: with_steps(outcome, steps[name]) for name, outcome in outcomes.items()}
    return kept, num_step_skills(outcomes) - num_step_skills(kept)


def with_steps(outcome: Outcome, steps: tuple[int, ...]) -> Outcome:
    """The outcome with the step skills about `steps` alone; unchanged where it has no skills."""
    skills = outcome.analysis.skills
    if skills is None:
        return outcome
    chosen = {index: skill for index, skill in skills.step_skills.items() if index in steps}
    kept = replace(skills, step_skills=chosen)
    return replace(outcome, analysis=replace(outcome.analysis, skills=kept))


def num_step_skills(outcomes: Mapping[str, Outcome]) -> int:
    """Step skills of all outcomes together."""
    found: list[Skills | None] = [outcome.analysis.skills for outcome in outcomes.values()]
    return sum(len(skills.step_skills) for skills in found if skills is not None)
