"""Rows that belong together: by task, by trajectory, and by the state they were in (GiGPO)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal

import numpy as np
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


def state_groups(
    tasks: Sequence[Hashable], observations: Sequence[object], similarity: float | None = None
) -> Int[Tensor, " B"]:
    """The state group of every row: same task, and same observation.

    With `similarity`, observations at least that alike (difflib's ratio) count as the same.
    """
    if similarity is None:
        keys = [identity(observation) for observation in observations]
        return number_groups(zip(tasks, keys, strict=True))
    assert 0 < similarity < 1, f"similarity must lie between 0 and 1, got {similarity}"
    clusters: dict[Hashable, _Clusters] = {}
    return number_groups(
        (task, clusters.setdefault(task, _Clusters(similarity)).place(observation))
        for task, observation in zip(tasks, observations, strict=True)
    )


def identity(observation: object) -> Hashable:
    """A key that is equal for equal observations; of arrays only the items count, not the shape."""
    if isinstance(observation, str | int | float):
        return observation
    if isinstance(observation, np.integer | np.floating):
        return observation.item()
    if isinstance(observation, np.ndarray):
        return tuple(observation.flatten())
    if isinstance(observation, list | tuple):
        return tuple(identity(item) for item in observation)
    if isinstance(observation, Mapping):
        return tuple(sorted((key, identity(value)) for key, value in observation.items()))
    raise TypeError(
        f"cannot tell whether two observations of type {type(observation).__name__} are the same; "
        "expected text, numbers, or sequences and mappings of them"
    )


class _Clusters:
    """Greedy clusters of one task: each takes what resembles its first member."""

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity
        self._first_members: list[SequenceMatcher[str] | None] = []  # None for what is not text
        self._seen: dict[str, int] = {}

    def place(self, observation: object) -> int:
        if not isinstance(observation, str):
            return self._place_other(observation)
        # A text seen before finds its cluster again: later ones open behind it.
        if observation not in self._seen:
            self._seen[observation] = self._first_fit(observation)
        return self._seen[observation]

    def _place_other(self, observation: object) -> int:
        if self._first_members:
            raise _not_text(observation)
        self._first_members.append(None)
        return 0

    def _first_fit(self, text: str) -> int:
        for number, matcher in enumerate(self._first_members):
            if matcher is None:
                raise _not_text(None)
            if self._is_similar(matcher, text):
                return number
        # difflib keeps what it learned of its second text, here the cluster's first member.
        self._first_members.append(SequenceMatcher(None, "", text))
        return len(self._first_members) - 1

    def _is_similar(self, first_member: SequenceMatcher[str], text: str) -> bool:
        first_member.set_seq1(text)
        bounds_and_ratio = (
            first_member.real_quick_ratio,
            first_member.quick_ratio,
            first_member.ratio,
        )
        return all(ratio() >= self._similarity for ratio in bounds_and_ratio)


def _not_text(observation: object) -> ValueError:
    return ValueError(
        f"only texts can be compared for similarity, got {type(observation).__name__}; "
        "set state_similarity to null to group equal observations"
    )


def describe_group_sizes(groups: Int[Tensor, " B"], largest: int = 10) -> dict[str, float]:
    """How large groups are, and the share of groups and of rows of each size up to `largest`."""
    sizes = np.array(list(Counter(groups.tolist()).values()))
    metrics = {
        "num_groups": len(sizes),
        "num_samples": sizes.sum(),
        "mean": sizes.mean(),
        "std": sizes.std(),
        "min": sizes.min(),
        "max": sizes.max(),
    }
    bins = {f"size_{size}": sizes == size for size in range(1, largest + 1)}
    for name, chosen in (bins | {f"size_gt_{largest}": sizes > largest}).items():
        metrics[f"{name}_group_count"] = chosen.sum()
        metrics[f"{name}_group_prop"] = chosen.mean()
        metrics[f"{name}_sample_prop"] = sizes[chosen].sum() / sizes.sum()
    return {name: float(value) for name, value in metrics.items()}
