"""Which goals are for training and which for evaluation, by product and fixed for ever.

A product's place follows from its id alone, whatever else the catalogue holds.

    valid_unseen   all goals of one product in ten
    valid_seen     of products that are trained on, other goals: one in ten
    train          the rest
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import overload

from opid_lightning.protocols import Split
from opid_lightning.types import Task

UNSEEN_SHARE = 0.1  # of products
SEEN_SHARE = 0.1  # of the goals of each other product that has two or more


@dataclass(frozen=True)
class GoalNumbers:
    """Which of a product's goals stand in which split."""

    train: tuple[int, ...]
    valid_seen: tuple[int, ...]
    valid_unseen: tuple[int, ...]


def split_goals(product_id: str, count: int) -> GoalNumbers:
    everything = tuple(range(count))
    if chance("unseen", product_id) < UNSEEN_SHARE:
        return GoalNumbers((), (), everything)
    # 3.4 goals are 3, and a fourth for two products in five.
    held_out = int(count * SEEN_SHARE + chance("seen", product_id))
    by_chance = sorted(everything, key=lambda number: chance("goal", product_id, number))
    seen = sorted(by_chance[: min(held_out, max(count - 1, 0))])
    return GoalNumbers(tuple(sorted(set(everything) - set(seen))), tuple(seen), ())


def chance(*key: object) -> float:
    """A number from 0 to 1, the same on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True)
class GoalSource:
    """A product that has goals."""

    product_id: str
    kind: str
    count: int


@dataclass(frozen=True)
class GoalTasks(Sequence[Task]):
    """The tasks of a split, each made when it is asked for: a full catalogue has millions.

    A task's id is `PRODUCT-NUMBER`; its payload is the product's id and the number.
    """

    split: Split
    sources: Sequence[GoalSource]
    ends: array[int] = field(repr=False)  # how many tasks there are up to each source

    @classmethod
    def of(cls, split: Split, sources: Iterable[GoalSource]) -> GoalTasks:
        kept, counts = [], array("q")
        for source in sources:
            if count := len(getattr(split_goals(source.product_id, source.count), split)):
                kept.append(source)
                counts.append(count)
        return cls(split, kept, array("q", accumulate(counts)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...

    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        place = range(len(self))[index]
        row = bisect_right(self.ends, place)
        source = self.sources[row]
        numbers = getattr(split_goals(source.product_id, source.count), self.split)
        number = numbers[place - (self.ends[row - 1] if row else 0)]
        return task_of(source, number)


def task_of(source: GoalSource, number: int) -> Task:
    return Task(f"{source.product_id}-{number}", source.kind, (source.product_id, number))
