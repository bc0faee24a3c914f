"""Questions with golden answers, from JSONL and Parquet files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opid_lightning.envs.search.rows import Row, read_rows
from opid_lightning.types import Task


@dataclass(frozen=True)
class Question:
    """Something to find out; any of the golden answers is right."""

    text: str
    golden_answers: tuple[str, ...]
    supporting_titles: tuple[str, ...] = ()  # of the passages that it follows from, where known


def read_tasks(paths: Sequence[Path]) -> tuple[Task, ...]:
    """One task a question, in the order of the files.

    The kind of a task is its `data_source`; a file without that field is one source, named as the
    file. Ids are those of the file, or else made from the question's words.
    """
    tasks = tuple(_task(row) for path in paths for row in read_rows(path))
    for path in paths if not tasks else ():
        raise ValueError(f"{path} holds no questions. {_EXPECTED}")
    repeated = [name for name, count in Counter(task.id for task in tasks).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{len(repeated)} questions of {', '.join(map(str, paths))} have an id that another "
            f"one of the same data_source has, as {repeated[0]!r}. Give each an `id` of its own, "
            "or leave the field out where the questions differ"
        )
    return tasks


_EXPECTED = (
    'Expected in each row: "question", "golden_answers" (a list of texts, or Search-R1\'s '
    '"reward_model": {"ground_truth": {"target": [...]}}), and if you like "id", "data_source", '
    '"supporting_titles"'
)


def _task(row: Row) -> Task:
    text = row.values.get("question")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{row.place} has no question: {text!r}. {_EXPECTED}")
    question = Question(text.strip(), _golden_answers(row), _titles(row))
    source = str(row.values.get("data_source") or row.path.name.partition(".")[0])
    name = row.values.get("id")
    if name is None:
        name = hashlib.blake2b(question.text.encode(), digest_size=8).hexdigest()
    return Task(f"{source}/{name}", source, question)


def _golden_answers(row: Row) -> tuple[str, ...]:
    found: Any = row.values.get("golden_answers")
    if found is None:
        found = _inside(row.values, ("reward_model", "ground_truth", "target"))
    answers = [found] if isinstance(found, str) else found
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(
            f"{row.place} has golden answers that are no texts: {found!r}. {_EXPECTED}"
        )
    if not any(answer.strip() for answer in answers):
        raise ValueError(f"{row.place} has a question without golden answers. {_EXPECTED}")
    return tuple(answer.strip() for answer in answers if answer.strip())


def _titles(row: Row) -> tuple[str, ...]:
    titles = row.values.get("supporting_titles") or []
    if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
        raise ValueError(f"{row.place} has supporting titles that are no texts: {titles!r}")
    return tuple(titles)


def _inside(values: Any, names: Sequence[str]) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values
