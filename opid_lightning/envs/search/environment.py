"""Search-based question answering: which questions, who searches, and what a policy is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import get_args

from opid_lightning.envs.search.passages import write_passages
from opid_lightning.envs.search.prompt import write_brief_prompt, write_prompt
from opid_lightning.envs.search.questions import read_tasks
from opid_lightning.envs.search.responses import read_action
from opid_lightning.envs.search.retriever.client import RetrieverClient, Service
from opid_lightning.envs.search.retriever.local import BM25, Retriever, open_index
from opid_lightning.envs.search.session import AnswerRule, SearchSession
from opid_lightning.envs.search.world import World, corpus_of, questions_of
from opid_lightning.envs.window import PromptStyle
from opid_lightning.protocols import Session, Split
from opid_lightning.retrieval import Index
from opid_lightning.types import Action, Observation, PromptText, Task, Turn
from opid_lightning.value_checks import LARGEST_REWARD, check_range, check_words

MAX_QUERY = 1000  # characters; a longer one is refused, and the policy told so
MAX_WAITING = 64  # sessions that ask a service at a time
NOTHING_FOUND = "No passages found."
Files = str | list[str] | None


@dataclass
class SearchQA:
    """Questions to be answered by searching passages, one search or answer a step."""

    max_steps: int = 4  # an episode ends after so many actions (reference scripts)
    history_length: int = 4  # past turns that a prompt shows (reference scripts)
    # wording of the prompt; brief: what model=small_search reads
    prompt_style: PromptStyle = "instructive"
    # what may win: the response alone, or, as in the reference, passages too
    answer_rule: AnswerRule = "response"
    win_reward: float = 1.0  # reward of a right answer
    topk: int = 3  # passages that a search returns
    train_questions: Files = None  # JSON or Parquet; without question files a world is generated
    valid_seen_questions: Files = None  # questions of the split valid_seen
    valid_unseen_questions: Files = None  # questions of the split valid_unseen
    corpus: str | None = None  # passages, JSON or Parquet, indexed in this process
    # a retrieval service, instead of an index in this process
    retriever: Service = field(default_factory=Service)
    num_train_questions: int = 3000  # number of generated questions
    num_valid_questions: int = 120  # generated questions in each of the two validation splits
    world_seed: int = 0  # seed of the generated world
    cache: str | None = None  # of generated data and indices; null: the user's cache folder

    def __post_init__(self) -> None:
        least = {
            "max_steps": 1,
            "history_length": 0,
            "topk": 1,
            "num_train_questions": 1,
            "num_valid_questions": 1,
        }
        for name, bound in least.items():
            check_range(f"env.{name}", getattr(self, name), at_least=bound)
        check_range("env.win_reward", self.win_reward, above=0, at_most=LARGEST_REWARD)
        check_words("env", self)
        self._check_sources()

    def tasks(self, split: Split) -> Sequence[Task]:
        """Makes sure, too, that somebody searches: it is asked for before the first rollout."""
        tasks = _read(self._files(split))
        retriever = self._retriever()
        if isinstance(retriever, RetrieverClient):
            retriever.start(tasks[0].payload.text)
        return tasks

    def open(self) -> Session:
        """A session on the shared retriever."""
        return SearchSession(self._search, self.max_steps, self.win_reward, self.answer_rule)

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        """The prompt in the chosen style, with at most `history_length` turns."""
        write = write_brief_prompt if self.prompt_style == "brief" else write_prompt
        return write(goal, history, observation, self.history_length)

    def action(self, response: str, observation: Observation) -> Action:
        """Reads `<search>` or `<answer>`; a response with neither is invalid."""
        return read_action(response)

    @property
    def max_waiting(self) -> int:
        """How many searches wait at once; 0 where the index is in this process."""
        return MAX_WAITING if self.retriever.url else 0

    @property
    def world(self) -> World:
        """Generated, where no questions are given."""
        sizes = self.num_train_questions, self.num_valid_questions
        return World(*sizes, self.world_seed, self.cache)

    @property
    def is_generated(self) -> bool:
        """Whether all questions come from the generated world."""
        return not any(self._given(split) for split in get_args(Split))

    def _search(self, query: str) -> str:
        query = query.strip()
        if len(query) > MAX_QUERY:
            return f"The query has {len(query)} characters, and {MAX_QUERY} are searched for."
        passages = self._retriever()(query) if query else ()
        return write_passages(passages) or NOTHING_FOUND

    def _retriever(self) -> Retriever:
        """The same for all sessions of a process."""
        if self.retriever.url:
            return _client(self.retriever, self.topk)
        corpus = Path(self.corpus).expanduser() if self.corpus else corpus_of(self.world)
        return BM25(_index(corpus, self.cache), self.topk)

    def _given(self, split: Split) -> Files:
        return getattr(self, f"{split}_questions")

    def _files(self, split: Split) -> tuple[Path, ...]:
        if self.is_generated:
            return (questions_of(self.world, split),)
        given = self._given(split)
        if not given:
            raise ValueError(
                f"there are no questions for {split}: env.{split}_questions is not set, while "
                "those of another split are. Set it to one or more JSONL or Parquet files"
            )
        names = [given] if isinstance(given, str) else given
        return tuple(Path(name).expanduser() for name in names)

    def _check_sources(self) -> None:
        if self.corpus and self.retriever.url:
            raise ValueError(
                f"both env.corpus={self.corpus} and env.retriever.url={self.retriever.url} say who "
                "searches: leave one out"
            )
        if self.corpus and self.is_generated:
            raise ValueError(
                f"env.corpus is {self.corpus}, but there are no questions about it: set "
                "env.train_questions, env.valid_seen_questions and env.valid_unseen_questions"
            )
        for split in get_args(Split):
            self._check_files(split)
        if not self.is_generated and not self.corpus and not self.retriever.url:
            raise ValueError(
                "there are questions, but no passages to search: set env.corpus to a JSONL or "
                "Parquet file, or env.retriever.url to a service that serves one"
            )

    def _check_files(self, split: Split) -> None:
        for file in self._files(split) if self._given(split) else ():
            if not file.exists():
                raise ValueError(
                    f"env.{split}_questions: there is no file {file}. Expected a JSONL or Parquet "
                    "file of questions, or several"
                )


@cache
def _read(files: tuple[Path, ...]) -> tuple[Task, ...]:
    return read_tasks(files)


@cache
def _index(corpus: Path, cache_folder: str | None) -> Index:
    return open_index(corpus, cache_folder)


@cache
def _client(service: Service, topk: int) -> RetrieverClient:
    return RetrieverClient(service, topk)
