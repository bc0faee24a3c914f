"""The rows of a file of analyses: how they are written, and checked when they are read."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from opid_lightning.files.json_reading import read_json
from opid_lightning.hindsight.reply import AnalysisError, Reply, keep_valid
from opid_lightning.types import Analysis, Skills, Usage

USAGE = tuple(field.name for field in dataclasses.fields(Usage))
FAILURE = re.compile(r"[a-z_]{1,40}")  # it becomes part of a metric's name
READ = "SELECT candidates, skills, failure, detail FROM answers"
Row = Mapping[str, object]


@dataclass(frozen=True)
class Entry:
    """What one analysis adds to the file, all of it or nothing."""

    key: str
    run: str
    analysis: Analysis
    answer: Row | None  # none where it is not worth keeping
    spending: Row | None  # none where it took nothing


def write(connection: sqlite3.Connection, entry: Entry) -> None:
    """Committed when it returns. An answer that stands already stays, unless nobody can use it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        if entry.spending is not None:
            insert(connection, "spending", entry.spending)
        if entry.answer is not None and not has_usable(connection, entry.key):
            connection.execute("DELETE FROM answers WHERE key = ?", (entry.key,))
            insert(connection, "answers", entry.answer)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def has_usable(connection: sqlite3.Connection, key: str) -> bool:
    """Whether an analysis is stored under this key and passes today's checks."""
    try:
        return standing(connection, key) is not None
    except AnalysisError:
        return False


def standing(connection: sqlite3.Connection, key: str) -> Analysis | None:
    """The answer to a question; raises AnalysisError for one that fails its checks."""
    row = connection.execute(f"{READ} WHERE key = ?", (key,)).fetchone()
    return None if row is None else read_answer(*row)


def spent(connection: sqlite3.Connection, run: str) -> Usage:
    """What one run has spent, by the folder that names it."""
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in USAGE)
    rows = connection.execute(f"SELECT {sums} FROM spending WHERE run = ?", (run,))
    return Usage(*rows.fetchone())


def insert(connection: sqlite3.Connection, table: str, row: Row) -> None:
    """Adds a row, its columns named by the keys."""
    # Half characters, which SQLite cannot encode, become `?`.
    values = [
        v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for v in row.values()
    ]
    places = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", values)


def now() -> str:
    """The time of day in UTC, to the millisecond, as rows keep it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def serialise_skills(skills: Skills) -> str:
    """As JSON, which keeps the order of the step skills, and half characters."""
    return json.dumps(dataclasses.asdict(skills))


def read_answer(candidates: str, skills: str | None, failure: str, detail: str) -> Analysis:
    """The answer of a row. Raises AnalysisError for what nobody could have been answered.

    The file may have been edited, damaged, or written by a version with other checks.
    """
    if skills is None:
        if not FAILURE.fullmatch(str(failure)):
            raise AnalysisError("missing_field", f"neither skills nor a failure but {failure!r}")
        return Analysis(None, str(failure), str(detail))
    try:
        content = read_json(skills)
        step_skills = {int(index): str(text) for index, text in content["step_skills"].items()}
        found = Skills(str(content["episode_skill"]), step_skills, str(content["episode_summary"]))
        asked = [int(step) for step in read_json(candidates)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnalysisError("not_json", f"{type(error).__name__}: {error}") from error
    return checked(Analysis(found, detail=str(detail)), asked)


def checked(analysis: Analysis, candidates: Collection[int]) -> Analysis:
    """The analysis after the checks of a reply. Checking it again changes nothing.

    Raises AnalysisError where its skills cannot be used.
    """
    if analysis.skills is None:
        return analysis
    kept = keep_valid(Reply(analysis.skills), candidates, max_step_skills=len(candidates))
    detail = "; ".join(part for part in (analysis.detail, kept.detail) if part)
    return dataclasses.replace(analysis, skills=kept.skills, detail=detail)
