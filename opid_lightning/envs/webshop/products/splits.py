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
from functools import lru_cache
from itertools import accumulate
from typing import get_args, overload

from opid_lightning.protocols import Split
from opid_lightning.types import Task

SPLITS: tuple[Split, ...] = get_args(Split)
UNSEEN_SHARE = 0.1  # of products
SEEN_SHARE = 0.1  # of the goals of each other product that has two or more

_NUM_KEPT = 4_096  # products whose goals were split lately


@dataclass(frozen=True)
class GoalNumbers:
    """Which of a product's goals stand in which split."""

    train: tuple[int, ...]
    valid_seen: tuple[int, ...]
    valid_unseen: tuple[int, ...]


@lru_cache(_NUM_KEPT)
def split_goals(product_id: str, count: int) -> GoalNumbers:
    """Which of a product's `count` goals belong to which split. Depends on its id alone."""
    everything = tuple(range(count))
    _, num_seen, num_unseen = split_sizes(product_id, count)
    if num_unseen:
        return GoalNumbers((), (), everything)
    by_chance = sorted(everything, key=lambda number: chance("goal", product_id, number))
    seen = sorted(by_chance[:num_seen])
    return GoalNumbers(tuple(sorted(set(everything) - set(seen))), tuple(seen), ())


def split_sizes(product_id: str, count: int) -> tuple[int, int, int]:
    """How many goals of a product are train, valid_seen and valid_unseen."""
    if chance("unseen", product_id) < UNSEEN_SHARE:
        return 0, 0, count
    # 3.4 goals are 3, and a fourth for two products in five.
    num_seen = int(count * SEEN_SHARE + chance("seen", product_id))
    num_seen = min(num_seen, max(count - 1, 0))  # what is seen has to be seen in training
    return count - num_seen, num_seen, 0


def chance(*key: object) -> float:
    """A number from 0 to 1, the same on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True)
class GoalSource:
    """A product that has goals."""

    product_id: str
    kind: str
    sizes: tuple[int, int, int]  # of its parts of train, valid_seen and valid_unseen

    @property
    def count(self) -> int:
        """The goals of the product in all splits together."""
        return sum(self.sizes)


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
        """The tasks of a split over these products, made when they are looked up."""
        kept, counts = [], array("q")
        for source in sources:
            if count := source.sizes[SPLITS.index(split)]:
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
    """The task of a product's goal with this number."""
    return Task(f"{source.product_id}-{number}", source.kind, (source.product_id, number))
