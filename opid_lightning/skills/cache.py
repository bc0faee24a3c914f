"""AnalysisCache: every analysis that was paid for, kept on disk by what was asked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from opid_lightning.skills.analysis_file import open_to_write
from opid_lightning.types import Analysis, Skills, Trajectory, Usage

USAGE = tuple(field.name for field in dataclasses.fields(Usage))


@dataclass(frozen=True)
class Question:
    """What an analyst is asked. Of equal keys, one answer serves all."""

    trajectory: Trajectory
    candidates: tuple[int, ...]
    identity: str  # of the analyst

    @cached_property
    def key(self) -> str:
        return digest([trajectory_key(self.trajectory), self.candidates, self.identity])


def trajectory_key(trajectory: Trajectory) -> str:
    """Equal for trajectories that no analyst can tell apart, whatever their task or attempt."""
    steps = [
        (
            step.observation.text,
            step.observation.admissible,
            step.completion.text,
            step.action.text,
            step.action.is_valid,
            step.reward,
        )
        for step in trajectory.steps
    ]
    return digest([trajectory.goal, trajectory.won, steps])


def digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class AnalysisCache:
    """A file that several runs, processes and threads may share; not over a network file system.

    The first answer to a question stands: who asked the same at the same time takes it over.
    """

    def __init__(self, path: Path | str) -> None:
        """Opens the file, or makes it; raises ValueError for one that is damaged or not ours."""
        self.path = Path(path)
        self._connection = open_to_write(self.path)
        self._lock = threading.Lock()

    def get(self, key: str) -> Analysis | None:
        """The answer that stands, which costs nothing now."""
        with self._lock:
            return self._standing(key)

    def put(self, question: Question, analysis: Analysis, run: str) -> Analysis:
        """Books what it took on `run`, keeps it if it is an answer; returns what stands.

        Committed when it returns.
        """
        if not is_answer(analysis):
            self.book(question, analysis, run)
            return analysis
        with self._lock, self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            self._book(question, analysis, run)
            standing = self._standing(question.key)
            if standing is None:
                self._keep(question, analysis, run)
        return dataclasses.replace(standing or analysis, usage=analysis.usage)

    def book(self, question: Question, analysis: Analysis, run: str) -> None:
        """Only what it took."""
        with self._lock:
            self._book(question, analysis, run)

    def spent(self, run: str) -> Usage:
        """What the analyses of a run have taken so far, also before it was killed."""
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in USAGE)
        with self._lock:
            rows = self._connection.execute(f"SELECT {sums} FROM spending WHERE run = ?", (run,))
            return Usage(*rows.fetchone())

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _standing(self, key: str) -> Analysis | None:
        row = self._connection.execute(
            "SELECT skills, failure, detail FROM answers WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        skills, failure, detail = row
        return read_answer(skills, failure, detail, f"{self.path}, answer {key}")

    def _keep(self, question: Question, analysis: Analysis, run: str) -> None:
        row = {
            "key": question.key,
            "trajectory_key": trajectory_key(question.trajectory),
            "candidates": json.dumps(question.candidates),
            "identity": question.identity,
            "trajectory": question.trajectory.id,
            "run": run,
            "created": now(),
            "skills": None if analysis.skills is None else written(analysis.skills),
            "failure": analysis.failure,
            "detail": analysis.detail,
        }
        insert(self._connection, "answers", row)

    def _book(self, question: Question, analysis: Analysis, run: str) -> None:
        if analysis.usage != Usage():
            row = {"key": question.key, "run": run, "created": now(), "failure": analysis.failure}
            insert(self._connection, "spending", row | dataclasses.asdict(analysis.usage))


def is_answer(analysis: Analysis) -> bool:
    """Skills, or a reply that was paid for in vain: asked again, it would only cost again.

    What failed on its way, as by a timeout, may succeed next time.
    """
    return analysis.skills is not None or analysis.usage.completion_tokens > 0


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, object]) -> None:
    # Half characters, which SQLite cannot encode, become `?`.
    values = [
        v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for v in row.values()
    ]
    places = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", values)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def written(skills: Skills) -> str:
    """As JSON, which keeps the order of the step skills, and half characters."""
    return json.dumps(dataclasses.asdict(skills))


def read_answer(skills: str | None, failure: str, detail: str, place: str) -> Analysis:
    if skills is None:
        return Analysis(None, failure, detail)
    try:
        content = json.loads(skills)
        step_skills = {int(index): str(text) for index, text in content["step_skills"].items()}
        found = Skills(content["episode_skill"], step_skills, content["episode_summary"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{place} cannot be read ({type(error).__name__}: {error}); delete that row of the "
            "table `answers`, or use another file."
        ) from error
    return Analysis(found, detail=detail)
