"""How facts are said in passages and asked for in questions, and how both are read again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

# What a passage says of a thing of each kind, in one of these ways.
SENTENCES: Mapping[str, tuple[str, ...]] = {
    "person": (
        "{name} was born in {birthplace} in {birthyear} and worked as a {trade}.",
        "{name}, a {trade}, was born in {birthyear} in the town of {birthplace}.",
        "The {trade} {name} was born in {birthyear}. The family came from {birthplace}, the town "
        "of birth.",
    ),
    "town": (
        "{name} is a town in {region} on the river {river}. Its mayor is {mayor}, and it is known "
        "for its {craft}.",
        "The town of {name} in {region} is known for its {craft}. The river {river} flows through "
        "it, and {mayor} is its mayor.",
    ),
    "river": (
        "The {name} is a river that rises in the {hills} and flows into the {sea}.",
        "The river {name} flows into the {sea}. It rises in the {hills}.",
    ),
    "company": (
        "{name} makes {product} in the town of {seat}. Its founder was {founder}.",
        "{name}, founded by {founder}, has its seat in {seat} and makes {product}.",
    ),
    "book": (
        "{name} is a book that {writer} wrote. It was printed in {year}.",
        "{name}, a book printed in {year}, was written by {writer}.",
    ),
    "building": (
        "{name} stands in the town of {place}. Its architect was {architect}.",
        "{architect} was the architect of {name}, which stands in {place}.",
    ),
}


@dataclass(frozen=True)
class Relation:
    """What leads from a thing to another one, or to a word."""

    name: str
    subject: str  # kind
    object: str  # kind; blank: a word, of which no passage tells more
    question: str
    phrase: str = ""  # for the object, to ask on from there
    aliases: tuple[str, ...] = ()  # of the object, besides its name


RELATIONS = (
    Relation("birthplace", "person", "town", "In which town was {x} born?",
             "the town where {x} was born"),
    Relation("birthyear", "person", "", "In which year was {x} born?"),
    Relation("trade", "person", "", "What was the trade of {x}?"),
    Relation("river", "town", "river", "Which river flows through {x}?", "the river of {x}",
             ("river {o}",)),
    Relation("region", "town", "", "In which region is {x}?"),
    Relation("mayor", "town", "person", "Who is the mayor of {x}?", "the mayor of {x}"),
    Relation("craft", "town", "", "What is {x} known for?"),
    Relation("sea", "river", "", "Into which sea does {x} flow?", "", ("{first}",)),
    Relation("hills", "river", "", "In which hills does {x} rise?", "", ("{first}",)),
    Relation("founder", "company", "person", "Who was the founder of {x}?", "the founder of {x}"),
    Relation("seat", "company", "town", "In which town has {x} its seat?",
             "the town where {x} has its seat"),
    Relation("product", "company", "", "What does {x} make?"),
    Relation("writer", "book", "person", "Who wrote {x}?", "the writer of {x}"),
    Relation("year", "book", "", "In which year was {x} printed?"),
    Relation("place", "building", "town", "In which town stands {x}?",
             "the town where {x} stands"),
    Relation("architect", "building", "person", "Who was the architect of {x}?",
             "the architect of {x}"),
)  # fmt: skip
EARLIER = "Who was born first, {a} or {b}?"
SAME_TOWN = "Were {a} and {b} born in the same town?"


def relations_of(kind: str) -> Iterator[Relation]:
    """The relations that things of this kind have."""
    return (relation for relation in RELATIONS if relation.subject == kind)


def say(sentence: str, **words: str) -> str:
    """Filled in, with "an" where a vowel follows."""
    return re.sub(r"\ba(?= [aeiou])", "an", sentence.format(**words))


def read_passage(text: str) -> dict[str, str] | None:
    """What a passage states, by relation and with its `name`; None where it is of no such form."""
    for pattern in _passage_patterns():
        if found := pattern.fullmatch(text):
            return found.groupdict()
    return None


def pattern_of(sentence: str) -> re.Pattern[str]:
    """Matches what `say` makes of a sentence, and names its blanks."""
    words = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(sentence))
    return re.compile(re.sub(r"\ba\\ (?=\(\?P<trade>)", r"an?\\ ", words))


@cache
def _passage_patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(pattern_of(way) for ways in SENTENCES.values() for way in ways)
