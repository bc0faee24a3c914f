"""The processes of a run, of which each plays, scores and trains its share."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed
from torch import Tensor

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
        """What each rank brings, in the order of ranks. All of them have to call it.

        Tensors arrive on the CPU: a tensor of another rank's GPU would open that GPU here too.
        """
        if self.count == 1:
            return [mine]
        found: list[bytes | None] = [None] * self.count
        torch.distributed.all_gather_object(found, pickled_on_cpu(mine))
        return [pickle.loads(item) for item in found]  # type: ignore[arg-type]


class _OnCPU(pickle.Pickler):
    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, Tensor) and item.device.type != "cpu":
            return item.detach().cpu().__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # type: ignore[no-untyped-call]
        return NotImplemented


def pickled_on_cpu(item: object) -> bytes:
    """With every tensor in it, however deep, moved to the CPU."""
    into = io.BytesIO()
    _OnCPU(into, pickle.HIGHEST_PROTOCOL).dump(item)
    return into.getvalue()


ALONE = Ranks()
