"""Oracles that answer through the environment: by searching and reading, as an agent has to.

`ReadingExpert` understands the questions and passages of the generated world; where the answer
stands it finds out by searching. `TitleExpert` is for other questions: it is told the titles of the
supporting passages, and the answer, which it gives only once a search has shown them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from opid_lightning.envs.search.questions import Question
from opid_lightning.envs.search.world.wording import (
    EARLIER,
    RELATIONS,
    SAME_TOWN,
    Relation,
    pattern_of,
    read_passage,
)
from opid_lightning.types import Observation

UNKNOWN = "unknown"
_DOCUMENT = re.compile(
    r"^(?:<information>)?Doc \d+ \(Title: (.*?)\)(?: (.*?))?(?:</information>)?$"
)


@dataclass(frozen=True)
class Decision:
    """What to do next, and in a few words why: what is known, or what is still to be found."""

    thought: str
    command: str  # <search>..</search> or <answer>..</answer>


def search_for(words: str, thought: str) -> Decision:
    """The decision to search for these words."""
    return Decision(thought, f"<search>{words}</search>")


def answer_with(answer: str, thought: str) -> Decision:
    """The decision to answer, which ends the episode."""
    return Decision(thought, f"<answer>{answer}</answer>")


def documents(text: str) -> dict[str, str]:
    """What a search showed: texts by title."""
    found = (_DOCUMENT.match(line) for line in text.splitlines())
    return {document[1]: document[2] or "" for document in found if document}


def is_shown(title: str, text: str) -> bool:
    """Also where the title itself holds parentheses, which `documents` cuts short."""
    return f" (Title: {title})" in text


@dataclass(frozen=True)
class Plan:
    """What a question asks for: of each subject, relations to follow one after the other."""

    subjects: tuple[str, ...]
    relations: tuple[str, ...]
    choice: str = ""  # how two subjects are compared: "earlier" or "same"

    @classmethod
    def of(cls, question: str) -> Plan:
        """Raises ValueError for a question that the generated world would not ask."""
        for sentence, relation, choice in (
            (EARLIER, "birthyear", "earlier"),
            (SAME_TOWN, "birthplace", "same"),
        ):
            if found := pattern_of(sentence).fullmatch(question):
                return cls((found["a"], found["b"]), (relation,), choice)
        for last in RELATIONS:
            if found := _pattern(last.question).fullmatch(question):
                first, subject = _read_phrase(found["x"], last)
                return cls((subject,), (*first, last.name))
        raise ValueError(f"the generated world does not ask {question!r}")


def _read_phrase(words: str, last: Relation) -> tuple[tuple[str, ...], str]:
    """'the writer of The Lost Key' to its relation and 'The Lost Key'; a name stands for itself."""
    for relation in RELATIONS:
        leads_there = relation.phrase and relation.object == last.subject
        if leads_there and (found := _pattern(relation.phrase).fullmatch(words)):
            return (relation.name,), found["x"]
    return (), words.removeprefix("the ")


@cache
def _pattern(sentence: str) -> re.Pattern[str]:
    return pattern_of(sentence)


@dataclass
class ReadingExpert:
    """Plays one question of the generated world: tell it what it sees, ask it what to do."""

    plan: Plan
    known: dict[str, Mapping[str, str]] = field(default_factory=dict)  # by name, what was read
    searched: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, question: str) -> ReadingExpert:
        """An expert for a question of the generated world; ValueError for another."""
        return cls(Plan.of(question))

    def see(self, observation: Observation) -> None:
        """Remembers the facts of every passage shown."""
        for text in documents(observation.text).values():
            if facts := read_passage(text):
                self.known[facts["name"]] = facts

    def decide(self) -> Decision:
        """Searches for the first fact that is missing, or answers."""
        reached = list[str]()
        for subject in self.plan.subjects:
            name = subject
            for relation in self.plan.relations:
                if name not in self.known:
                    return self._search(name, relation)
                name = self.known[name][relation]
            reached.append(name)
        return self._answer(reached)

    def _search(self, name: str, relation: str) -> Decision:
        for words in (name, f"{name} {relation}"):
            if words not in self.searched:
                self.searched.add(words)
                return search_for(words, f"{name}: {relation}")
        return answer_with(UNKNOWN, f"{name}: not found")

    def _answer(self, reached: list[str]) -> Decision:
        match self.plan.choice:
            case "earlier":
                first = min(zip(map(int, reached), self.plan.subjects, strict=True))[1]
                return answer_with(first, f"{reached[0]} and {reached[1]}")
            case "same":
                answer = "yes" if reached[0] == reached[1] else "no"
                return answer_with(answer, f"{reached[0]} and {reached[1]}")
            case _:
                return answer_with(reached[0], reached[0])


@dataclass
class TitleExpert:
    """Searches for the question, then for each title that is still missing."""

    question: Question
    missing: list[str] = field(init=False)
    queries: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        titles = self.question.supporting_titles
        if not titles:
            raise ValueError(f"{self.question.text!r} has no supporting_titles to search for")
        self.missing = list(titles)
        self.queries = iter((self.question.text, *titles))

    def see(self, observation: Observation) -> None:
        """Ticks off the titles that were shown."""
        self.missing = [title for title in self.missing if not is_shown(title, observation.text)]

    def decide(self) -> Decision:
        """Searches until every title was shown, then answers.

        Gives up once nothing is left to ask.
        """
        if not self.missing:
            return answer_with(self.question.golden_answers[0], "all was shown")
        for query in self.queries:
            if query == self.question.text or query in self.missing:
                return search_for(query, f"missing: {', '.join(self.missing)}")
        return answer_with(UNKNOWN, "not found")
