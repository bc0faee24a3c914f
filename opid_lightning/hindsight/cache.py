"""AnalysisCache: every analysis that was paid for, kept on disk by what was asked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from opid_lightning.files.omissions import warn_once
from opid_lightning.hindsight.analysis_file import BUSY_S, open_to_write, set_busy_timeout
from opid_lightning.hindsight.analysis_rows import (
    Entry,
    now,
    serialise_skills,
    spent,
    standing,
    write,
)
from opid_lightning.hindsight.reply import AnalysisError
from opid_lightning.types import Analysis, Trajectory, Usage

log = logging.getLogger(__name__)
RETRY_S = 20.0  # between tries to write to a file that failed
FAILED_BUSY_S = 0.1  # of a file that failed, how long another process may be writing


@dataclass(frozen=True)
class Question:
    """What an analyst is asked. Of equal keys, one answer serves all."""

    trajectory: Trajectory
    candidates: tuple[int, ...]
    identity: str  # of the analyst

    @cached_property
    def key(self) -> str:
        """SHA-256 of trajectory, candidates and analyst: equal questions have equal answers."""
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
    """SHA-256 of the content as JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True)
class CacheFaults:
    """What went wrong with the file since this was last asked, in numbers of analyses."""

    unstored: int = 0  # held in memory when they came, as the file could not take them
    rejected: int = 0  # stood in the file, and failed the checks of a reply


class AnalysisCache:
    """A file that several runs, processes and threads may share; not over a network file system.

    The first answer to a question stands: who asked the same at the same time takes it over.
    What the file cannot take, because it is locked or its disk is full, is held in memory, and
    written as soon as the file takes it.
    """

    def __init__(self, path: Path | str, busy_s: float = BUSY_S) -> None:
        """Opens the file, or makes it; raises ValueError for one that is damaged or not ours.

        `busy_s` is how long another process may be writing.
        """
        self.path = Path(path)
        self.busy_s = busy_s
        self._connection = open_to_write(self.path, busy_s)
        self._lock = threading.Lock()
        self._unwritten: deque[Entry] = deque()
        self._retry_at: float | None = None  # where the file failed; monotonic
        self._spent: dict[str, Usage] = {}  # when it was last read
        self._faults = CacheFaults()

    def get(self, key: str) -> Analysis | None:
        """The answer that stands, which costs nothing now."""
        with self._lock:
            return self._standing(key)

    def put(self, question: Question, analysis: Analysis, run: str) -> Analysis:
        """Books what it took on `run`, keeps it if it is an answer; returns what stands.

        Committed when it returns, unless the file fails.
        """
        is_kept = is_answer(analysis)
        with self._lock:
            self._write(entry_of(question, analysis, run, is_kept))
            found = self._standing(question.key) if is_kept else None
        return dataclasses.replace(found or analysis, usage=analysis.usage)

    def book(self, question: Question, analysis: Analysis, run: str) -> None:
        """Only what it took."""
        with self._lock:
            self._write(entry_of(question, analysis, run, is_kept=False))

    def spent(self, run: str) -> Usage:
        """What the analyses of a run have taken so far, also before it was killed."""
        with self._lock:
            try:
                self._spent[run] = spent(self._connection, run)
            except sqlite3.Error as error:
                self._fail(error)
            held = (entry.analysis.usage for entry in self._unwritten if entry.run == run)
            return sum(held, self._spent.get(run, Usage()))

    def new_faults(self) -> CacheFaults:
        """What could not be stored or read since the last call."""
        with self._lock:
            faults, self._faults = self._faults, CacheFaults()
            return faults

    def close(self) -> None:
        """Tries once more to write what is held in memory, then closes the file."""
        with self._lock:
            if self._unwritten:
                self._write_all()
            if self._unwritten:
                log.warning(
                    "%s: %d analyses could not be stored; a resumed run asks for them again.",
                    self.path,
                    len(self._unwritten),
                )
            self._connection.close()

    def _standing(self, key: str) -> Analysis | None:
        try:
            found = standing(self._connection, key)
        except sqlite3.Error as error:
            self._fail(error)
            found = None
        except AnalysisError as error:
            self._count(rejected=1)
            warn_once(log, f"{self.path}, answer {key}: {error}. It is not used, but asked anew.")
            found = None
        return found or self._held(key)

    def _held(self, key: str) -> Analysis | None:
        held = (e.analysis for e in self._unwritten if e.key == key and e.answer is not None)
        first = next(held, None)
        return first and dataclasses.replace(first, usage=Usage())

    def _write(self, entry: Entry) -> None:
        self._unwritten.append(entry)
        if self._retry_at is None or time.monotonic() >= self._retry_at:
            self._write_all()
        if self._unwritten:
            self._count(unstored=1)

    def _write_all(self) -> None:
        try:
            while self._unwritten:
                write(self._connection, self._unwritten[0])
                self._unwritten.popleft()
        except sqlite3.Error as error:
            self._fail(error)
        else:
            self._recover()

    def _fail(self, error: sqlite3.Error) -> None:
        if self._retry_at is None:
            set_busy_timeout(self._connection, FAILED_BUSY_S)  # now that it has been waited for
            log.warning(
                "%s cannot be used as a file of analyses (%s). The run continues without it: new "
                "analyses are held in memory, and written once the file takes them.",
                self.path,
                error,
            )
        self._retry_at = time.monotonic() + RETRY_S

    def _recover(self) -> None:
        if self._retry_at is not None:
            self._retry_at = None
            set_busy_timeout(self._connection, self.busy_s)
            log.warning("%s takes analyses again; none was lost.", self.path)

    def _count(self, unstored: int = 0, rejected: int = 0) -> None:
        known = self._faults
        self._faults = CacheFaults(known.unstored + unstored, known.rejected + rejected)


def is_answer(analysis: Analysis) -> bool:
    """Skills, or a reply that was paid for in vain: asked again, it would only cost again.

    What failed on its way, as by a timeout, may succeed next time.
    """
    return analysis.skills is not None or analysis.usage.completion_tokens > 0


def entry_of(question: Question, analysis: Analysis, run: str, is_kept: bool) -> Entry:
    """The row for an analysis, and what it cost.

    A failure that may pass is not kept as an answer.
    """
    made = {"key": question.key, "run": run, "created": now(), "failure": analysis.failure}
    answer = {
        **made,
        "trajectory_key": trajectory_key(question.trajectory),
        "candidates": json.dumps(question.candidates),
        "identity": question.identity,
        "trajectory": question.trajectory.id,
        "skills": None if analysis.skills is None else serialise_skills(analysis.skills),
        "detail": analysis.detail,
    }
    spending = made | dataclasses.asdict(analysis.usage)
    return Entry(
        question.key,
        run,
        analysis,
        answer if is_kept else None,
        spending if analysis.usage != Usage() else None,
    )
