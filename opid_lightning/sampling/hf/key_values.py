"""Keys and values of earlier prompts, and of a batch whose responses grow."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from opid_lightning.lm.forward.prefix_tree import num_shared
from opid_lightning.types import TokenIds


def num_layers(model: torch.nn.Module) -> int:
    """Raises where a layer keeps anything but the keys and values of all tokens."""
    config: Any = model.config
    layers = DynamicCache(config=config).layers
    others = {type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer}
    if others or not layers:
        raise ValueError(
            f"sampler.cache_tokens takes a policy whose layers all attend to all tokens, but "
            f"{type(model).__name__} has {', '.join(sorted(others)) or 'layers of unknown kind'}. "
            "Set sampler.cache_tokens=0"
        )
    return len(layers)


class KeyValueTable(Cache):
    """One row a sequence, ending at the same column. A forward sees the part that is open.

    a b c d        `open(slice(0, 2), first=1, filled=3)` lets the model add the column of d and y
    . w x y        behind b c and w x
    """

    def __init__(self, num_layers: int, num_rows: int, num_columns: int) -> None:
        super().__init__(layers=[_Layer(num_rows, num_columns) for _ in range(num_layers)])

    def open(self, rows: slice, first: int, filled: int) -> None:
        """Points all layers at these rows, whose positions `first` to `filled` are known."""
        for layer in self.layers:
            layer.rows, layer.first, layer.filled = rows, first, filled

    def write(self, row: int, first: int, num_tokens: int, source: KeysAndValues) -> None:
        """The beginning of `source`, from a column on."""
        columns = slice(first, first + num_tokens)
        for layer, (keys, values) in zip(self.layers, source, strict=True):
            layer.allocate(keys, values)
            layer.all_keys[row, :, columns] = keys[:, :num_tokens]
            layer.all_values[row, :, columns] = values[:, :num_tokens]

    def read(self, row: int, columns: slice) -> KeysAndValues:
        """A copy, so that the table need not be kept."""
        return tuple(
            (layer.all_keys[row, :, columns].clone(), layer.all_values[row, :, columns].clone())
            for layer in self.layers
        )

    def select(self, rows: Sequence[int]) -> None:
        """A table of these rows, some perhaps repeated, all of it open."""
        for layer in self.layers:
            layer.select(list(rows))


class _Layer(DynamicLayer):
    def __init__(self, num_rows: int, num_columns: int) -> None:
        super().__init__()
        self.num_rows, self.num_columns = num_rows, num_columns
        self.rows, self.first, self.filled = slice(None), 0, 0
        self.is_initialized = False
        self.all_keys: Float[Tensor, "B H S D"]
        self.all_values: Float[Tensor, "B H S E"]

    def allocate(self, keys: Tensor, values: Tensor) -> None:
        """Zeros, as what is masked still must be finite."""
        if not self.is_initialized:
            self.all_keys, self.all_values = (
                like.new_zeros(self.num_rows, like.shape[-3], self.num_columns, like.shape[-1])
                for like in (keys, values)
            )
            self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.allocate(key_states, value_states)
        new = slice(self.filled, self.filled + key_states.shape[-2])
        self.all_keys[self.rows, :, new] = key_states
        self.all_values[self.rows, :, new] = value_states
        self.filled = new.stop
        seen = slice(self.first, self.filled)
        return self.all_keys[self.rows, :, seen], self.all_values[self.rows, :, seen]

    def get_seq_length(self) -> int:
        return self.filled - self.first

    def select(self, rows: list[int]) -> None:
        old_keys, old_values = self.all_keys, self.all_values
        self.num_rows, self.rows, self.is_initialized = len(rows), slice(None), False
        self.allocate(old_keys, old_values)
        self.all_keys[:, :, : self.filled] = old_keys[rows, :, : self.filled]
        self.all_values[:, :, : self.filled] = old_values[rows, :, : self.filled]


# Of every layer, for the tokens of one sequence. H heads, P tokens, D numbers a head.
KeysAndValues = tuple[tuple[Float[Tensor, "H P D"], Float[Tensor, "H P E"]], ...]


@dataclass(frozen=True)
class Match:
    """The stored prompt with which a new one shares its longest prefix."""

    num_shared: int
    found: KeysAndValues  # of at least so many tokens


@dataclass
class PrefixCache:
    """Prompts of at most so many tokens in all; the one stored longest ago goes first.

    What a prompt took from an older one it stores anew, so that order of storing is order of use.
    """

    max_tokens: int
    num_tokens: int = 0
    stored: dict[TokenIds, KeysAndValues] = field(default_factory=dict)  # oldest first
    ordered: list[TokenIds] = field(default_factory=list)  # where neighbours begin alike

    def longest_match(self, prompt: TokenIds) -> Match:
        """The kept prompt that begins most like this one, and how many tokens they share."""
        place = bisect_left(self.ordered, prompt)
        wanted = np.array(prompt)
        best = Match(0, ())
        for near in self.ordered[max(0, place - 1) : place + 1]:
            shared = num_shared(wanted, np.array(near))
            if shared > best.num_shared:
                best = Match(shared, self.stored[near])
        return best

    def store(self, prompt: TokenIds, found: KeysAndValues) -> None:
        """Prompts that are longer than all that may be stored are not."""
        if len(prompt) > self.max_tokens:
            return
        if prompt in self.stored:
            self._drop(prompt)
        while self.num_tokens + len(prompt) > self.max_tokens:
            self._drop(next(iter(self.stored)))
        self.stored[prompt] = found
        insort(self.ordered, prompt)
        self.num_tokens += len(prompt)

    def _drop(self, prompt: TokenIds) -> None:
        del self.stored[prompt]
        del self.ordered[bisect_left(self.ordered, prompt)]
        self.num_tokens -= len(prompt)
