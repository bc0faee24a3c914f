"""Rules as users write them: one that decays, and ones that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from opid_lightning.method.rules.rule import Rule


@dataclass(frozen=True)
class Decaying(Rule):
    """OPID whose skills count half as much after every `half_life` iterations; notes these."""

    half_life: float
    told: list[int] = field(default_factory=list)  # the iterations, by both faces

    def advantages(self, outcome: Tensor, delta: Tensor, mask: Tensor, iteration: int) -> Tensor:
        self.told.append(iteration)
        return outcome + 0.1 * 0.5 ** (iteration / self.half_life) * delta

    def loss(
        self, logprobs: Tensor, old: Tensor, teacher: Tensor, mask: Tensor, iteration: int
    ) -> Tensor:
        self.told.append(iteration)
        return -0.01 * 0.5 ** (iteration / self.half_life) * (teacher - old) * logprobs


@dataclass(frozen=True)
class Returning(Rule):
    """Both faces return what `make` makes of the tensor that would be right."""

    make: Callable[[Tensor], Any]

    def advantages(self, outcome: Tensor, delta: Tensor, mask: Tensor, iteration: int) -> Any:
        return self.make(outcome.expand_as(delta).clone())

    def loss(
        self, logprobs: Tensor, old: Tensor, teacher: Tensor, mask: Tensor, iteration: int
    ) -> Any:
        return self.make(logprobs.clone())


@dataclass(frozen=True)
class Weighing(Rule):
    """Weighs every level with one number, or what is none."""

    number: Any

    def weight(self, level: str) -> Any:
        return self.number
