"""Rows that belong together, as numbers: `[7, 3, 7]` becomes `[0, 1, 0]`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Deviation = Literal["population", "unbiased"]


def number_groups(keys: Iterable[Hashable]) -> Int[Tensor, " B"]:
    """The group of every row, numbered in the order in which groups first appear."""
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys], dtype=torch.long)


def first_rows(groups: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """Whether a row is the first of its group."""
    _, ranks = torch.sort(groups, stable=True)
    ordered = groups[ranks]
    is_first = torch.zeros_like(groups, dtype=torch.bool)
    is_first[ranks] = torch.cat([ordered.new_ones(1), ordered.diff()]).bool()[: len(groups)]
    return is_first


def group_sums(values: Float[Tensor, " B"], groups: Int[Tensor, " B"]) -> Float[Tensor, " G"]:
    """The sum of each group's values, `[G]`; groups are numbered from 0."""
    num_groups = int(groups.max()) + 1 if len(groups) else 0
    return values.new_zeros(num_groups).index_add(0, groups, values)


def group_means(values: Float[Tensor, " B"], groups: Int[Tensor, " B"]) -> Float[Tensor, " G"]:
    """The mean of each group's values, `[G]`; groups are numbered from 0 without gaps."""
    return group_sums(values, groups) / group_sums(torch.ones_like(values), groups)


def group_deviations(
    values: Float[Tensor, " B"], groups: Int[Tensor, " B"], deviation: Deviation
) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"], Float[Tensor, " G"]]:
    """Size, mean and standard deviation of every group; 0 deviation where it is not defined."""
    sizes = group_sums(torch.ones_like(values), groups)
    means = group_sums(values, groups) / sizes
    squares = group_sums((values - means[groups]).square(), groups)
    degrees = sizes if deviation == "population" else (sizes - 1).clamp(min=1)
    return sizes, means, (squares / degrees).sqrt()
