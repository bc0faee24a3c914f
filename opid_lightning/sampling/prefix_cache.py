"""Keys and values of earlier prompts, found by what a new prompt begins with."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.prefix_tree import num_shared
from opid_lightning.types import TokenIds

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
