"""A passage for each thing, titled with its name."""

from __future__ import annotations

import random
from collections.abc import Iterator

from opid_lightning.envs.search.passages import Passage
from opid_lightning.envs.search.world.facts import Facts, Thing
from opid_lightning.envs.search.world.wording import SENTENCES, say


def tell(facts: Facts, seed: int) -> Iterator[Passage]:
    """One passage per thing; the wording depends on the seed."""
    rng = random.Random(f"passages {seed}")
    for number, thing in enumerate(facts.things.values()):
        yield Passage(str(number), f'"{thing.name}"\n{_text(thing, rng)}')


def _text(thing: Thing, rng: random.Random) -> str:
    return say(rng.choice(SENTENCES[thing.kind]), name=thing.name, **thing.facts)
