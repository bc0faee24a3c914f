"""From losses of tokens to one number."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float, Shaped
from torch import Tensor

from opid_lightning.types import Totals

Aggregation = Literal[
    "token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"
]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


def aggregate(
    values: Float[Tensor, "B R"],
    mask: Shaped[Tensor, "B R"],
    how: str,
    totals: Totals | None = None,
) -> Float[Tensor, ""]:
    """Aggregates the masked values.

    With `totals`, values are a micro-batch of an optimizer step of that size: its results add
    up to what the whole step would give, and rows without tokens add 0.
    """
    if how not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {how!r}; expected one of {AGGREGATIONS}")
    if totals is None:
        return _aggregate_whole(values * mask, mask, how)
    return _aggregate_part(values * mask, mask, how, totals)


def token_mean(values: Shaped[Tensor, "B R"], mask: Shaped[Tensor, "B R"]) -> Float[Tensor, ""]:
    """The mean over the tokens of the mask; 0 where the mask is empty."""
    return (values * mask).sum() / (mask.sum() + 1e-8)


def _aggregate_whole(
    masked: Float[Tensor, "B R"], mask: Shaped[Tensor, "B R"], how: str
) -> Float[Tensor, ""]:
    match how:
        case "token-mean":
            return masked.sum() / (mask.sum() + 1e-8)
        case "seq-mean-token-sum":
            return masked.sum(dim=-1).mean()
        case "seq-mean-token-mean":
            return (masked.sum(dim=-1) / mask.sum(dim=-1)).mean()
        case _:
            return masked.sum() / mask.shape[-1]


def _aggregate_part(
    masked: Float[Tensor, "B R"], mask: Shaped[Tensor, "B R"], how: str, totals: Totals
) -> Float[Tensor, ""]:
    match how:
        case "token-mean":
            return masked.sum() / max(totals.num_tokens, 1)
        case "seq-mean-token-sum":
            return masked.sum() / totals.num_rows
        case "seq-mean-token-mean":
            lengths = mask.sum(dim=-1).clamp(min=1)
            return (masked.sum(dim=-1) / lengths).sum() / totals.num_rows
        case _:
            return masked.sum() / max(totals.max_response, 1)
