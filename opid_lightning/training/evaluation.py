"""The fixed evaluation sets: which tasks they hold, how they are played, what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch.utilities import rank_zero_info

from opid_lightning.gate import check_any_step
from opid_lightning.protocols import Environment, Split
from opid_lightning.rollout.rollout import group_by_task
from opid_lightning.training.success import Success, success_of
from opid_lightning.types import Task, Trajectory
from opid_lightning.value_checks import check_range, check_temperature

EvaluatedSplit = Literal["train", "valid_seen", "valid_unseen", "both"]


@dataclass(frozen=True)
class Evaluation:
    """How `validate`, `test`, `predict`, and `fit` meanwhile, play their fixed sets.

    Raises ValueError for a setting out of range, and for several greedy attempts, which are equal.
    """

    temperature: float = 0.4  # sampling temperature (reference scripts); 0 is greedy
    seed: int = 0  # seed of the sampling, independent of seed_everything
    attempts: int = 1  # attempts at each task; more of them narrow the intervals
    num_tasks: int | None = None  # tasks of each split at most, balanced across types; null: all
    tasks_per_batch: int = 64  # tasks that are played together
    # what `fit` and `validate` play; both: valid_seen and valid_unseen
    validation_split: EvaluatedSplit = "valid_seen"
    test_split: EvaluatedSplit = "valid_unseen"  # what `test` plays

    def __post_init__(self) -> None:
        check_range("evaluation.attempts", self.attempts, at_least=1)
        check_range("evaluation.num_tasks", self.num_tasks, at_least=1, or_null=True)
        check_range("evaluation.tasks_per_batch", self.tasks_per_batch, at_least=1)
        check_temperature("evaluation.temperature", self.temperature)
        if self.temperature == 0 and self.attempts > 1:
            raise ValueError(
                f"evaluation.attempts is {self.attempts}, but at evaluation.temperature=0 all "
                "attempts at a task are the same: set attempts to 1, or a temperature above 0"
            )

    def sets(
        self, stage: str, tasks_of: Callable[[Split], Sequence[Task]]
    ) -> tuple[EvaluationSet, ...]:
        """What `stage` evaluates; says it where that is not the whole of a split."""
        evaluated = self.test_split if stage == "test" else self.validation_split
        sets = tuple(self.chosen(split, tasks_of(split)) for split in splits_of(evaluated))
        for part in sets:
            if notice := self.notice(part):
                rank_zero_info(notice)
        return sets

    def chosen(self, split: Split, tasks: Sequence[Task]) -> EvaluationSet:
        """The tasks of the whole split, or of a larger one as many as are asked for."""
        if self.num_tasks is None or self.num_tasks >= len(tasks):
            return EvaluationSet(split, tuple(tasks), len(tasks))
        return EvaluationSet(split, spread(tasks, self.num_tasks), len(tasks))

    def notice(self, chosen: EvaluationSet) -> str:
        """How the set differs from the whole split, or from what was asked for; else empty."""
        if self.num_tasks is None or self.num_tasks == chosen.num_available:
            return ""
        asked = f"evaluation.num_tasks={self.num_tasks}"
        if self.num_tasks > chosen.num_available:
            return f"{asked}: {chosen.split} has {chosen.num_available} tasks; all are played."
        return (
            f"{asked}: of the {chosen.num_available} tasks of {chosen.split} always the same are "
            "played, spread over the task types."
        )


@dataclass(frozen=True)
class EvaluationSet:
    """Tasks of a split in its own order: the same at every evaluation, whatever the seeds."""

    split: Split
    tasks: tuple[Task, ...]
    num_available: int  # in the whole split

    def parts(self, size: int) -> list[tuple[Split, tuple[Task, ...]]]:
        """The tasks in batches of `size`, each with its split."""
        starts = range(0, len(self.tasks), size)
        return [(self.split, self.tasks[start : start + size]) for start in starts]


def splits_of(evaluated: EvaluatedSplit) -> tuple[Split, ...]:
    """The splits behind a setting: "both" is valid_seen and valid_unseen."""
    return ("valid_seen", "valid_unseen") if evaluated == "both" else (evaluated,)


def spread(tasks: Sequence[Task], count: int) -> tuple[Task, ...]:
    """`count` tasks in their order, balanced across task types where possible.

    Those of a type lie at even distances, so that no one room or object fills the set.
    """
    by_kind: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        by_kind.setdefault(task.kind, []).append(index)
    quotas = dict.fromkeys(sorted(by_kind), 0)
    while (missing := count - sum(quotas.values())) > 0:
        unfinished = [kind for kind in quotas if quotas[kind] < len(by_kind[kind])]
        for kind in unfinished[:missing]:
            quotas[kind] += 1
    taken = sorted(
        indices[(2 * i + 1) * len(indices) // (2 * quotas[kind])]
        for kind, indices in by_kind.items()
        for i in range(quotas[kind])
    )
    return tuple(tasks[index] for index in taken)


@dataclass(frozen=True)
class Played:
    """Attempts at some tasks of an evaluation set.

    One whose session was lost counts as not won. Left out, it would raise the rate of a policy
    that crashes or hangs the games it would lose, and evaluations would no longer be of the same
    attempts; played again, it would have a second chance. How many there were is a metric.
    """

    split: Split
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True)
class EvaluationResult:
    """The success on every split that was evaluated, and on all of them together."""

    splits: Mapping[Split, Success]
    together: Success

    def metrics(self, stage: str) -> dict[str, float]:
        """By the names of docs/metrics.md; each split's own where there are several."""
        named = {f"{stage}/{name}": value for name, value in self.together.metrics.items()}
        if len(self.splits) > 1:
            for split, success in self.splits.items():
                named |= {f"{stage}/{split}/{k}": value for k, value in success.metrics.items()}
        return named


def check_games_were_played(environment: Environment, played: Sequence[Played]) -> None:
    """Raises ValueError where every game was over before its first step."""
    made = [t for part in played for t in part.trajectories]
    check_any_step(environment, [t for t in made if not t.session_lost])


def result_of(played: Sequence[Played]) -> EvaluationResult:
    """What all parts of an evaluation come to. Task ids are unique within a split alone."""
    attempts: dict[Split, list[Trajectory]] = {}
    for part in played:
        attempts.setdefault(part.split, []).extend(part.trajectories)
    groups = {split: list(group_by_task(made).values()) for split, made in attempts.items()}
    return EvaluationResult(
        splits={split: success_of(tasks) for split, tasks in groups.items()},
        together=success_of([group for tasks in groups.values() for group in tasks]),
    )
