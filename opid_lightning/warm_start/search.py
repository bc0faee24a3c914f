"""Demonstrations of search QA: the generated world, and an expert that searches and reads."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.expert import Decision, Plan, ReadingExpert, documents
from opid_lightning.envs.search.world import corpus_of, questions_of
from opid_lightning.envs.search.world.names import YEARS
from opid_lightning.envs.search.world.wording import RELATIONS
from opid_lightning.protocols import Environment
from opid_lightning.types import Observation, Turn
from opid_lightning.warm_start.curriculum import again_and_again
from opid_lightning.warm_start.demonstration_source import Demonstration
from opid_lightning.warm_start.demonstrations import Demonstrator
from opid_lightning.warm_start.skill_augmentation import ALL_ADVICE
from opid_lightning.warm_start.tokenizer import WORDS, make_tokenizer, often

# One token each, and part of the text.
TAGS = tuple(
    f"<{end}{tag}>"
    for tag in ("think", "search", "answer", "information")
    for end in ("", "/")
)  # fmt: skip
# What stands around names, one token each.
PHRASES = (
    "Your turn. Question:",
    "Question:",
    "Doc 1 (Title:",
    "Doc 2 (Title:",
    "Doc 3 (Title:",
    " was born in",
    " is a book that",
    " is a town in",
    " on the river",
    ". Its mayor is",
    ", and it is known for its",
    " in the town of",
    " and worked as a",
    ". The family came from",
    ", the town of birth.",
    "Advice for this task, learned from an earlier attempt:",
    "Advice for this very moment:",
    "This way of working solved the task.",
    '", then "',
)
_CHUNKS = (*map(re.escape, sorted(PHRASES, key=len, reverse=True)), *WORDS)


@dataclass(frozen=True)
class SearchDemonstrations:
    """Questions of many worlds, so that answers have to be read and cannot be known by heart.

    None of them is the world that conf=search asks about, in which the policy is evaluated.
    """

    num_worlds: int = 12
    num_questions: int = 3000  # of each
    noise: float = 0.1  # share of commands that are slips

    @property
    def title(self) -> str:
        """As the model card calls it."""
        return "search-based question answering"

    @property
    def max_response_tokens(self) -> int:
        """Enough for the longest thought and query of the expert."""
        return 32

    def environments(self) -> Mapping[str, Environment]:
        """The world that is evaluated, which no training question is about."""
        return {"generated": self._world(0)}

    def _world(self, seed: int) -> SearchQA:
        """As conf=search has it but for its seed; the small policy reads no other prompts."""
        return SearchQA(
            prompt_style="brief", num_train_questions=self.num_questions, world_seed=seed
        )

    @property
    def _worlds(self) -> list[SearchQA]:
        return [self._world(seed) for seed in range(1, self.num_worlds + 1)]

    def tokenizer(self) -> Any:
        """A tokenizer made of the words of the generated worlds."""
        return make_tokenizer(self._corpus(), _CHUNKS, TAGS)

    def _corpus(self) -> Iterator[str]:
        texts = list[str]()
        for world in (environment.world for environment in self._worlds):
            texts += _read(corpus_of(world), "contents")
            texts += _read(questions_of(world, "train"), "question")
        asked = [f" {relation.name} and not found unknown" for relation in RELATIONS]
        years = [f" {year}" for year in YEARS]
        yield from often((*texts, *ALL_ADVICE, *asked, *years), PHRASES)

    def demonstrations(
        self, environments: Mapping[str, Environment], num_episodes: int, seed: int
    ) -> Iterator[Demonstration]:
        """All training questions in a new order, again and again."""
        shown = []
        for world in self._worlds:
            show = Demonstrator(
                world,
                lambda task, opening: Reader(ReadingExpert.of(opening.goal)),
                perturb,
                respond,
                self.noise,
            )
            shown += [(show, world.open(), task) for task in world.tasks("train")]
        rng = random.Random(seed)
        for show, session, task in again_and_again(shown, rng):
            yield show(session, task, rng)

    def facts(self, environments: Mapping[str, Environment]) -> Mapping[str, str]:
        """The rows of the model card about the data."""
        return {
            "expert": "searches for what the question leads to, and reads",
            "training questions": f"{self.num_worlds * self.num_questions:,} about "
            f"{self.num_worlds} worlds, none of them the one that is evaluated",
            "random searches": f"{self.noise:.0%}, shown but not imitated",
        }


@dataclass
class Reader:
    """An expert that does not care what led to an observation."""

    expert: ReadingExpert

    def see(self, command: str | None, observation: Observation) -> None:
        """Passes the observation on to the expert that reads."""
        self.expert.see(observation)

    def decide(self) -> Decision:
        """What the expert does next."""
        return self.expert.decide()


def _read(file: Path, key: str) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line)[key] for line in lines]


def perturb(goal: str, turns: Sequence[Turn], observation: Observation, rng: random.Random) -> str:
    """A search for something that has been read of, or an answer too early."""
    seen = [turn.observation for turn in turns] + [observation]
    names = [*Plan.of(goal).subjects, *(name for one in seen for name in documents(one.text))]
    if rng.random() < 0.2:
        return f"<answer>{rng.choice(names)}</answer>"
    return f"<search>{rng.choice(names)} {rng.choice(RELATIONS).name}</search>"


def respond(decision: Decision) -> str:
    """With blanks, so that a name's first word is the same token here as in passages."""
    return f"<think> {decision.thought}</think>{decision.command.replace('>', '> ', 1)}"
