"""Batches of random log-probs, cut into micro-batches as a test wishes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opid_lightning.types import Batch, ModelInputs, Totals

Rows = dict[str, Tensor]  # columns [B R] by the name of their field in Batch, and `logprobs`


def random_rows(lengths: Sequence[int], width: int, seed: int = 0) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(-1)).float()

    def normal(mean: float, deviation: float) -> Tensor:
        noise = torch.randn(mask.shape, generator=generator, dtype=torch.float64)
        return (mean + deviation * noise) * mask

    old = normal(-2.0, 0.5)
    routed = mask * (torch.arange(len(lengths)) % 2 == 0).unsqueeze(-1)
    return {
        "logprobs": old + normal(0.0, 0.4),
        "response_mask": mask,
        "old_logprobs": old,
        "advantages": normal(0.0, 1.0),
        "skill_logprobs": (old + normal(0.1, 0.3)) * routed,
        "routed_mask": routed,
        "reference_logprobs": old + normal(0.0, 0.2),
        "sampler_logprobs": old + normal(0.0, 0.5),
    }


def empty_row() -> Rows:
    return {name: torch.zeros(1, 1, dtype=torch.float64) for name in random_rows([1], 1)}


def totals_of_rows(rows: Rows, num_batches: int = 1) -> Totals:
    return Totals(
        num_rows=len(rows["response_mask"]),
        num_tokens=int(rows["response_mask"].sum()),
        max_response=int(rows["response_mask"].sum(dim=-1).max()),
        num_batches=num_batches,
        num_routed_tokens=int(rows["routed_mask"].sum()),
    )


def select(rows: Rows, indices: Sequence[int]) -> Rows:
    """Some of the rows, without columns of which they are no part of; a row of nothing for none."""
    if not indices:
        return empty_row()
    chosen = {name: column[list(indices)] for name, column in rows.items()}
    width = max(1, int(chosen["response_mask"].sum(dim=-1).max()))
    return {name: column[:, :width] for name, column in chosen.items()}


def batch_of(rows: Rows, totals: Totals, has_reference: bool = True) -> Batch:
    columns = {name: column for name, column in rows.items() if name != "logprobs"}
    ids = torch.zeros(rows["response_mask"].shape, dtype=torch.long)
    return Batch(
        **columns | ({} if has_reference else {"reference_logprobs": None}),
        names=tuple(map(str, range(len(ids)))),
        inputs=ModelInputs(ids, ids, ids, ids[0], ids, ids, num_tokens=0),
        temperature=1.0,
        totals=totals,
    )
