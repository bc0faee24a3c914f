"""Who and what there is, and how they are related.

    book ─writer─► person ◄─founder─ company ─seat─► town ─river─► river ─sea─► sea
                   person ─birthplace─► town ◄─place─ building ─architect─► person

Everything is related to things of its own region alone, but for seas, hills, products and trades,
of which there are a few for all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from opid_lightning.envs.search.world import names

# Of each region. With these there are 2,364 things in 12 regions.
NUM_TOWNS, NUM_RIVERS, NUM_PERSONS = 24, 6, 100
NUM_COMPANIES, NUM_BOOKS, NUM_BUILDINGS = 14, 35, 18
NUM_UNSEEN_REGIONS = 2  # which no question of train or valid_seen is about


@dataclass(frozen=True)
class Thing:
    """Something that a passage is about."""

    kind: str
    name: str
    region: str
    facts: Mapping[str, str] = field(compare=False)  # relation to the name of what it leads to


@dataclass(frozen=True)
class Facts:
    """The generated world, from which passages and questions are written."""

    things: Mapping[str, Thing]  # by name
    unseen_regions: frozenset[str]

    def follow(self, name: str, relation: str) -> str:
        """The name that a relation of a thing leads to; KeyError where there is none."""
        return self.things[name].facts[relation]


def invent(seed: int) -> Facts:
    """The same for the same seed."""
    rng = random.Random(f"world {seed}")
    regions = rng.sample(names.REGIONS, len(names.REGIONS))
    drawn = {
        kind: iter(rng.sample(list(combined), len(list(combined))))
        for kind, combined in _names().items()
    }
    things = [thing for region in regions for thing in _region(region, drawn, rng)]
    rng.shuffle(things)
    return Facts({t.name: t for t in things}, frozenset(regions[:NUM_UNSEEN_REGIONS]))


def _names() -> dict[str, Sequence[str]]:
    """All that each kind of thing can be called."""
    return {
        "town": _pairs(names.TREES, names.PLACES),
        "river": _pairs(names.SIDES, names.RIVERS),
        "person": _pairs(names.FIRST_NAMES, names.LAST_NAMES),
        "company": _pairs(names.BEASTS, names.TRADINGS),
        "book": [f"The {name}" for name in _pairs(names.MOODS, names.THINGS)],
        "building": _pairs(names.SAINTS, names.BUILDINGS),
    }


def _pairs(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [f"{one} {two}" for one, two in product(first, second)]


def _region(region: str, drawn: Mapping[str, Iterator[str]], rng: random.Random) -> Iterator[Thing]:
    def take(kind: str, count: int) -> list[str]:
        return [next(drawn[kind]) for _ in range(count)]

    towns, rivers, persons = (
        take("town", NUM_TOWNS), take("river", NUM_RIVERS), take("person", NUM_PERSONS)
    )  # fmt: skip
    for name in towns:
        yield Thing("town", name, region, {
            "river": rng.choice(rivers), "region": region, "mayor": rng.choice(persons),
            "craft": rng.choice(names.PRODUCTS),
        })  # fmt: skip
    for name in rivers:
        sea, hills = f"{rng.choice(names.SEAS)} Sea", f"{rng.choice(names.RANGES)} Hills"
        yield Thing("river", name, region, {"sea": sea, "hills": hills})
    for name in persons:
        yield Thing("person", name, region, {
            "birthplace": rng.choice(towns), "birthyear": str(rng.choice(names.YEARS)),
            "trade": rng.choice(names.TRADES),
        })  # fmt: skip
    for name in take("company", NUM_COMPANIES):
        yield Thing("company", name, region, {
            "founder": rng.choice(persons), "seat": rng.choice(towns),
            "product": rng.choice(names.PRODUCTS),
        })  # fmt: skip
    for name in take("book", NUM_BOOKS):
        yield Thing("book", name, region, {
            "writer": rng.choice(persons), "year": str(rng.choice(names.YEARS)),
        })  # fmt: skip
    for name in take("building", NUM_BUILDINGS):
        yield Thing("building", name, region, {
            "place": rng.choice(towns), "architect": rng.choice(persons),
        })  # fmt: skip
