"""The world on disk, in the very files that other questions and passages come in."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from opid_lightning.envs.search.world.facts import Facts, invent
from opid_lightning.envs.search.world.passages import tell
from opid_lightning.envs.search.world.questions import ask
from opid_lightning.files.atomic import folder_made_once
from opid_lightning.files.user_cache import cache_folder
from opid_lightning.protocols import Split
from opid_lightning.value_checks import check_range

VERSION = 1  # of what a seed yields; part of the folder's name
CORPUS = "corpus.jsonl"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class World:
    """Which world, how many questions about it, and where it is kept."""

    num_train: int
    num_valid: int
    seed: int
    cache: str | None

    def __post_init__(self) -> None:
        for name in ("num_train", "num_valid"):
            check_range(f"env.{name}_questions", getattr(self, name), at_least=1)

    @property
    def folder(self) -> Path:
        """Made already or not."""
        name = f"world-v{VERSION}-seed{self.seed}-train{self.num_train}-valid{self.num_valid}"
        return cache_folder("search", self.cache) / name

    def count(self, split: Split) -> int:
        """How many questions a split has."""
        return self.num_train if split == "train" else self.num_valid


def corpus_of(world: World) -> Path:
    """The file of passages, written on first use."""
    return _made(world) / CORPUS


def questions_of(world: World, split: Split) -> Path:
    """The file of a split's questions, written on first use."""
    return _made(world) / f"{split}.jsonl"


@cache
def _made(world: World) -> Path:
    if not world.folder.is_dir():
        facts = invent(world.seed)
        with folder_made_once(world.folder) as draft:
            _write(draft / CORPUS, (vars(passage) for passage in tell(facts, world.seed)))
            for split in get_args(Split):
                _write(draft / f"{split}.jsonl", _rows(facts, split, world))
    _log.warning("env.*_questions are not set: asking about a generated world, %s", world.folder)
    return world.folder


def _rows(facts: Facts, split: Split, world: World) -> Iterable[Mapping[str, Any]]:
    count = world.count(split)
    made = ask(facts, split, count, world.seed)
    if len(made) < count:
        setting = "num_train_questions" if split == "train" else "num_valid_questions"
        raise ValueError(
            f"env.{setting} is {count}, but the generated world has {len(made)} for {split} that "
            "are mixed as they should be. Ask for fewer"
        )
    for number, question in enumerate(made):
        yield {
            "id": f"{split}-{number:05d}",
            "question": question.text,
            "golden_answers": question.golden_answers,
            "data_source": question.source,
            "supporting_titles": question.supporting_titles,
        }


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
