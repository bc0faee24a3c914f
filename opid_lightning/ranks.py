"""The processes of a run, of which each plays, scores and trains its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Ranks:
    """This process, and how many there are of its kind. Alone by default."""

    rank: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            raise ValueError(f"rank {self.rank} of {self.count}; expected 0 to {self.count - 1}")

    def share(self, items: Sequence[_Item]) -> list[_Item]:
        """Every `count`-th, so that where neighbours cost alike, so do the ranks' shares."""
        return list(items[self.rank :: self.count])

    def gather(self, mine: _Item) -> list[_Item]:
        """What each rank brings, in the order of ranks. All of them have to call it."""
        if self.count == 1:
            return [mine]
        found: list[_Item | None] = [None] * self.count
        torch.distributed.all_gather_object(found, mine)
        return found  # type: ignore[return-value]


ALONE = Ranks()
