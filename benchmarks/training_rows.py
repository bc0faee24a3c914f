"""Rows to score and train on, for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.advantage import trajectory_of
from opid_lightning.types import (
    Route,
    RoutedStep,
    Sample,
    ScoredStep,
    TokenIds,
)


@dataclass(frozen=True)
class Rows:
    """Prompts and their responses, as token ids."""

    prompts: Sequence[TokenIds]
    responses: Sequence[TokenIds]

    @classmethod
    def read(cls, path: Path) -> Rows:
        found = json.loads(path.read_text())
        prompts, responses = (
            [tuple(ids) for ids in found[name]] for name in ("prompts", "responses")
        )
        return cls(prompts, responses)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @property
    def sequences(self) -> list[TokenIds]:
        return [p + r for p, r in zip(self.prompts, self.responses, strict=True)]

    @property
    def num_tokens(self) -> int:
        """Nominal: what several rows begin with counts in each."""
        return sum(map(len, self.sequences))


def group_of_one_prompt(
    vocabulary: int, num_rows: int = 8, num_prompt: int = 448, num_response: int = 64
) -> Rows:
    """A GRPO group, of random tokens."""
    generator = torch.Generator().manual_seed(0)
    size = num_prompt + num_rows * num_response
    ids = torch.randint(10, vocabulary, (size,), generator=generator).tolist()
    responses = [
        tuple(ids[start : start + num_response]) for start in range(num_prompt, size, num_response)
    ]
    return Rows([tuple(ids[:num_prompt])] * num_rows, responses)


def samples_of(rows: Rows) -> list[Sample]:
    """As the iteration makes them; half of the advantages are negative."""
    return [
        Sample(scored(prompt, response), 1.0 - 2 * (index % 2), 0.0, torch.zeros(len(response)))
        for index, (prompt, response) in enumerate(zip(rows.prompts, rows.responses, strict=True))
    ]


def scored(prompt: TokenIds, response: TokenIds) -> ScoredStep:
    trajectory = trajectory_of(0, 1)
    step = trajectory.steps[0]
    step = replace(
        step,
        prompt=replace(step.prompt, token_ids=prompt),
        completion=replace(step.completion, token_ids=response, logprobs=(0.0,) * len(response)),
    )
    return ScoredStep(RoutedStep(trajectory, step, Route(), {}), torch.zeros(len(response)), {})
