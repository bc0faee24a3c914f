"""Questions with golden answers, from JSON and Parquet files."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opid_lightning.envs.search.files.rows import Row, read_rows
from opid_lightning.envs.search.question_forms import (
    golden_answers_of,
    id_of,
    question_of,
    source_of,
    supporting_titles_of,
)
from opid_lightning.files.omissions import Omissions
from opid_lightning.types import Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """Something to find out; any of the golden answers is right."""

    text: str
    golden_answers: tuple[str, ...]
    supporting_titles: tuple[str, ...] = ()  # of the passages that it follows from, where known


def read_tasks(paths: Sequence[Path]) -> tuple[Task, ...]:
    """One task a question, in the order of the files.

    The kind of a task is its `data_source`; a file without that field is one source, named as the
    file, or as its folder where it is named as a split. Ids are those of the file, or else made
    from the question's words. Rows that cannot be asked are left out, counted and reported.
    """
    left_out = Omissions()
    rows = (row for path in paths for row in read_rows(path, left_out))
    asked = [named for row in rows if (named := _asked(row, left_out))]
    files = ", ".join(map(str, paths))
    if not asked:
        raise ValueError(
            f"{files} holds no questions{f': {left_out}' if left_out else ''}. {_EXPECTED}"
        )
    left_out.report(_log, f"{len(asked):,} questions of {files}")
    return _named(asked, files)


_EXPECTED = (
    'Expected in each row: "question", "golden_answers" (a list of texts, or another form that '
    'docs/search.md lists), and if you like "id", "data_source", "supporting_titles"'
)
_SPLIT = re.compile(r"(train|training|dev|validation|valid|val|eval|test)([-_.]?\d.*)?")


@dataclass(frozen=True)
class _Asked:
    """A question, and what its row says of who it is."""

    question: Question
    source: str
    id: str | None


def _asked(row: Row, left_out: Omissions) -> _Asked | None:
    if (question := _question(row, left_out)) is None:
        return None
    source = source_of(row.values) or _source(row.path)
    return _Asked(question, source, id_of(row.values))


def _question(row: Row, left_out: Omissions) -> Question | None:
    text = question_of(row.values)
    if not isinstance(text, str) or not text.strip():
        found = row.held if text is None else f"{text!r:.60}"
        left_out.add("without a question", f"{row.place} has no question: {found}")
        return None
    try:
        answers, titles = golden_answers_of(row.values), supporting_titles_of(row.values)
    except ValueError as error:
        left_out.add("malformed", f"{row.place} has {error}")
        return None
    if not answers:
        found = f"{row.place} has a question without golden answers: {row.held}"
        left_out.add("without golden answers", found)
        return None
    return Question(text.strip(), answers, titles)


def _named(asked: Sequence[_Asked], files: str) -> tuple[Task, ...]:
    """Equal questions without ids are told apart by their order."""
    tasks, made = [], Counter[str]()
    for one in asked:
        name = one.id
        if name is None:
            name = hashlib.blake2b(one.question.text.encode(), digest_size=8).hexdigest()
            made[f"{one.source}/{name}"] += 1
            count = made[f"{one.source}/{name}"]
            name = name if count == 1 else f"{name}-{count}"
        tasks.append(Task(f"{one.source}/{name}", one.source, one.question))
    counts = Counter(task.id for task in tasks)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise ValueError(
            f"{len(repeated)} questions of {files} have an id that another one of the same "
            f"data_source has, as {repeated[0]!r}. Give each an `id` of its own, or leave the "
            "field out"
        )
    return tuple(tasks)


def _source(path: Path) -> str:
    """`nq.jsonl` and, as FlashRAG's folders have it, `nq/dev.jsonl` are both nq."""
    name = path.name.partition(".")[0]
    return (path.resolve().parent.name or name) if _SPLIT.fullmatch(name.lower()) else name
