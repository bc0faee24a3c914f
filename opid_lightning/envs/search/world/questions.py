"""Questions about the world: one fact, two facts one after the other, or two facts compared.

one_hop     Who wrote The Lost Key?
two_hop     In which town was the writer of The Lost Key born?
comparison  Who was born first, Ada Brook or Hugo Stark?
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from opid_lightning.envs.search.world.facts import Facts, Thing
from opid_lightning.envs.search.world.wording import (
    EARLIER,
    SAME_TOWN,
    Relation,
    relations_of,
)
from opid_lightning.protocols import Split

# Of twenty questions in a row; half of the comparisons could be guessed.
_TWENTY = ("two_hop",) * 13 + ("one_hop",) * 4 + ("comparison",) * 3
_VALID_SEEN_SHARE = 0.1  # of the questions about regions that train knows


@dataclass(frozen=True)
class Made:
    """A question with all that is known of it."""

    source: str
    text: str
    golden_answers: tuple[str, ...]
    supporting_titles: tuple[str, ...]


def ask(facts: Facts, split: Split, count: int, seed: int) -> list[Made]:
    """Depends on no other split, nor do the first ones on how many are asked for.

    Fewer where the world has no more.
    """
    things = [
        thing
        for thing in facts.things.values()
        if (thing.region in facts.unseen_regions) == (split == "valid_unseen")
    ]
    rng = {name: random.Random(f"{name} {split} {seed}") for name in (*_TWENTY, "order")}
    pools: Mapping[str, Iterator[Made]] = {
        "one_hop": _in_turn(_one_hop(things), split, rng["one_hop"]),
        "two_hop": _in_turn(_two_hop(facts, things), split, rng["two_hop"]),
        "comparison": _once(_comparisons(things, rng["comparison"]), split),
    }
    order = [source for _ in range(0, count, 20) for source in rng["order"].sample(_TWENTY, 20)]
    made = list[Made]()
    for source in order[:count]:
        if (question := next(pools[source], None)) is None:
            break
        made.append(question)
    return made


def _one_hop(things: Iterable[Thing]) -> Iterator[tuple[str, Made]]:
    for thing in things:
        for relation in relations_of(thing.kind):
            text = relation.question.format(x=named(thing))
            answers = golden(relation, thing.facts[relation.name])
            yield relation.name, Made("one_hop", text, answers, (thing.name,))


def _two_hop(facts: Facts, things: Iterable[Thing]) -> Iterator[tuple[str, Made]]:
    for thing in things:
        for first in relations_of(thing.kind):
            if not first.object:
                continue
            between = facts.things[thing.facts[first.name]]
            for second in relations_of(between.kind):
                text = second.question.format(x=first.phrase.format(x=named(thing)))
                answers = golden(second, between.facts[second.name])
                made = Made("two_hop", text, answers, (thing.name, between.name))
                yield f"{first.name} {second.name}", made


def _comparisons(things: Iterable[Thing], rng: random.Random) -> Iterator[Made]:
    """Without end; as many "yes" as "no"."""
    persons = [thing for thing in things if thing.kind == "person"]
    while True:
        one, two = rng.sample(persons, 2)
        if one.facts["birthyear"] != two.facts["birthyear"]:
            first = min(one, two, key=lambda person: int(person.facts["birthyear"]))
            text = EARLIER.format(a=one.name, b=two.name)
            yield Made("comparison", text, (first.name,), (one.name, two.name))
        wanted = rng.random() < 0.5
        for other in rng.sample(persons, len(persons)):
            is_same = other.facts["birthplace"] == one.facts["birthplace"]
            if other is not one and is_same == wanted:
                text = SAME_TOWN.format(a=one.name, b=other.name)
                answer = "yes" if is_same else "no"
                yield Made("comparison", text, (answer,), (one.name, other.name))
                break


def named(thing: Thing) -> str:
    """The thing as a sentence names it: rivers take an article."""
    return f"the {thing.name}" if thing.kind == "river" else thing.name


def golden(relation: Relation, answer: str) -> tuple[str, ...]:
    """All answers that count as right, the full one first."""
    words = {"o": answer, "first": answer.split()[0]}
    return (answer, *(alias.format(**words) for alias in relation.aliases))


def _in_turn(
    formed: Iterable[tuple[str, Made]], split: Split, rng: random.Random
) -> Iterator[Made]:
    """Each form as often as the others, as long as it lasts."""
    forms: dict[str, list[Made]] = {}
    for form, made in formed:
        if _belongs(made, split):
            forms.setdefault(form, []).append(made)
    for one_of_each in zip_longest(*(rng.sample(made, len(made)) for made in forms.values())):
        yield from (made for made in one_of_each if made is not None)


def _once(made: Iterable[Made], split: Split) -> Iterator[Made]:
    said = set[str]()
    for question in made:
        if question.text not in said and _belongs(question, split):
            said.add(question.text)
            yield question


def _belongs(made: Made, split: Split) -> bool:
    """What train and valid_seen share out by the questions' words."""
    digest = hashlib.blake2b(made.text.encode(), digest_size=8).digest()
    is_held_out = int.from_bytes(digest) / 2**64 < _VALID_SEEN_SHARE
    return split == "valid_unseen" or is_held_out == (split == "valid_seen")
