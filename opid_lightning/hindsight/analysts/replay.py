"""Replay: an analyst that repeats the analyses of earlier runs."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from opid_lightning.hindsight.analysis_file import open_to_read, refusal
from opid_lightning.hindsight.analysis_rows import read_answer
from opid_lightning.hindsight.cache import trajectory_key
from opid_lightning.hindsight.reply import AnalysisError
from opid_lightning.types import Analysis, Trajectory
from opid_lightning.value_checks import check_range

Recorded = tuple[str, str]  # the trajectory's key, and its candidates as JSON

_log = logging.getLogger(__name__)
ANSWERS = (
    "SELECT trajectory_key, candidates, skills, failure, detail FROM answers "
    "WHERE identity = ? OR ? IS NULL ORDER BY number"
)


@dataclass(frozen=True)
class Replay:
    """Looks each trajectory up by its content in the file that SkillExtraction's `cache` made.

    Whoever wrote it, the newest analysis of the same trajectory and candidates counts; with
    `recorded_identity`, that analyst's alone. A trajectory without one fails as `not_recorded`.
    What came too late for the run that recorded it is there, and is used. Of more than
    `max_step_skills` step skills the first are kept, as they are written the most important first.
    """

    path: str  # analyses.sqlite of an earlier run
    recorded_identity: str | None = None  # which analyst's analyses, where the file holds several
    # step skills of a trajectory at most; null: all that were written
    max_step_skills: int | None = None
    analyses: Mapping[Recorded, Analysis] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_range("analyst.max_step_skills", self.max_step_skills, at_least=0, or_null=True)
        object.__setattr__(self, "analyses", read_file(Path(self.path), self.recorded_identity))

    @property
    def identity(self) -> str:
        """The settings; they hold the path of the file that is replayed."""
        return f"{self!r} 1"

    def start(self) -> None:
        """Read when made."""

    def close(self) -> None:
        """Holds nothing open."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """The recorded analysis; failure "not_recorded" where the file has none."""
        analysis = self.analyses.get((trajectory_key(trajectory), json.dumps(list(candidates))))
        if analysis is None:
            return Analysis(None, "not_recorded", f"{self.path} has none of {trajectory.id}")
        return self.shortened(analysis)

    def shortened(self, analysis: Analysis) -> Analysis:
        """The analysis with at most `max_step_skills` step skills."""
        if analysis.skills is None or self.max_step_skills is None:
            return analysis
        kept = dict(islice(analysis.skills.step_skills.items(), self.max_step_skills))
        return replace(analysis, skills=replace(analysis.skills, step_skills=kept))


def read_file(path: Path, identity: str | None) -> dict[Recorded, Analysis]:
    """All its analyses, or those of one analyst; the newest of each trajectory."""
    if not path.is_file():
        raise ValueError(
            f"Replay.path is {str(path)!r}, which is no file. Every run writes one: "
            "analyses.sqlite in its folder, or where SkillExtraction's setting `cache` says."
        )
    with closing(open_to_read(path)) as connection:
        try:
            rows = connection.execute(ANSWERS, (identity, identity)).fetchall()
        except (sqlite3.Error, ValueError) as error:
            raise refusal(path, f"it is damaged: {error}") from error
    if not rows:
        whose = f" of the analyst {identity}" if identity else ""
        raise ValueError(f"Replay.path is {str(path)!r}, which holds no analyses{whose}.")
    found = [recorded(*row) for row in rows]
    if damaged := [error for _, error in found if isinstance(error, AnalysisError)]:
        said = f"{len(damaged)} of its {len(found)} answers cannot be used, such as: {damaged[0]}"
        if len(damaged) == len(found):
            raise refusal(path, f"it is damaged: {said}")
        _log.warning("Replay.path is %s: %s. They count as failures.", path, said)
    return {
        key: failed(answer) if isinstance(answer, AnalysisError) else answer
        for key, answer in found
    }


def recorded(
    trajectory: str, candidates: str, *answer: str
) -> tuple[Recorded, Analysis | AnalysisError]:
    """What a row answers, under the question that it is an answer to."""
    try:
        return (trajectory, candidates), read_answer(candidates, *answer)
    except AnalysisError as error:
        return (trajectory, candidates), error


def failed(error: AnalysisError) -> Analysis:
    """An answer that fails the checks of a reply is a failure, as the reply would be."""
    return Analysis(None, error.reason, error.detail)
