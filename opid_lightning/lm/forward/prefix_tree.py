"""Sequences that begin alike as one tree: what they share is computed once.

Two steps of an episode, prompts `a b` and `a b c`, responses `x y` and `z`:

    a ─ b ┬ c ─ z          tokens     a b c z x y
          └ x ─ y          positions  0 1 2 3 2 3

Each token attends to itself and its ancestors, so that every branch sees what it would see alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from opid_lightning.types import TokenIds


@dataclass(frozen=True)
class PrefixTree:
    """Tokens, each followed by its descendants before any other (in preorder). N tokens."""

    tokens: Int[np.ndarray, " N"]
    positions: Int[np.ndarray, " N"]
    parents: Int[np.ndarray, " N"]  # -1 for a root
    ends: Int[np.ndarray, " N"]  # behind the last descendant
    paths: tuple[Int[np.ndarray, " _"], ...]  # the tokens of each sequence, from its root

    @property
    def visible(self) -> Bool[np.ndarray, "N N"]:
        """Which tokens (columns) each token (row) attends to."""
        nodes = np.arange(len(self.tokens))
        return (nodes <= nodes[:, None]) & (nodes[:, None] < self.ends)


@dataclass(frozen=True)
class SortedSequences:
    """In the order of a dictionary, neighbours begin alike. Q sequences."""

    order: list[int]
    lengths: Int[np.ndarray, " Q"]
    shared: Int[np.ndarray, " Q"]  # tokens that each begins with as the one before it

    @classmethod
    def of(cls, sequences: Sequence[TokenIds]) -> SortedSequences:
        """Sorts the sequences, so that neighbours share the longest beginnings."""
        order = sorted(range(len(sequences)), key=sequences.__getitem__)
        arrays = [np.array(sequences[index], dtype=np.int64) for index in order]
        shared = [0, *(num_shared(one, other) for one, other in pairwise(arrays))]
        return cls(order, np.array([len(array) for array in arrays]), np.array(shared))


def num_shared(one: Int[np.ndarray, " _"], other: Int[np.ndarray, " _"]) -> int:
    """With how many equal tokens two sequences begin."""
    width = min(len(one), len(other))
    differs = one[:width] != other[:width]
    return int(differs.argmax()) if differs.any() else width


def merge(sequences: Sequence[TokenIds]) -> PrefixTree:
    """The tree of these sequences."""
    ordered = SortedSequences.of(sequences)
    size = int((ordered.lengths - ordered.shared).sum())
    tokens, positions, parents, ends = np.empty((4, size), dtype=np.int64)
    paths = [np.empty(0, dtype=np.int64)] * len(sequences)
    path, end = paths[0], 0
    for index, shared, length in zip(ordered.order, ordered.shared, ordered.lengths, strict=True):
        new = slice(end, end := end + length - shared)
        path = np.concatenate([path[:shared], np.arange(new.start, new.stop)])
        tokens[new] = sequences[index][shared:]
        positions[new] = np.arange(shared, length)
        parents[new] = np.concatenate([[-1], path[:-1]])[shared:]
        ends[path] = end  # moved on by every later sequence that passes here
        paths[index] = path
    return PrefixTree(tokens, positions, parents, ends, tuple(paths))


def cut(sequences: Sequence[TokenIds], max_tokens: int) -> list[tuple[int, ...]]:
    """Which sequences to merge into trees of at most so many tokens, for the lowest cost in all.

    The largest tree comes first. A sequence that is longer is a tree by itself.
    """
    ordered = SortedSequences.of(sequences)
    # The tree of the sequences i to j - 1 has total[j] - total[i] + shared[i] tokens.
    total = np.concatenate([[0], (ordered.lengths - ordered.shared).cumsum()])
    lowest = np.zeros(len(total), dtype=np.int64)  # cost of all trees of the first j sequences
    last_trees = [(0, 0)]  # the last of these trees: its tokens, and its first sequence
    first = 0
    for last in range(1, len(total)):
        sizes = total[last] - total[first:last] + ordered.shared[first:last]
        num_too_large = min(int((sizes > max_tokens).sum()), len(sizes) - 1)
        first, sizes = first + num_too_large, sizes[num_too_large:]
        costs = lowest[first:last] + cost(sizes, max_tokens)
        best = int(costs.argmin())
        lowest[last] = costs[best]
        last_trees.append((int(sizes[best]), first + best))
    trees: list[tuple[int, tuple[int, ...]]] = []
    last = len(sequences)
    while last > 0:
        size, begin = last_trees[last]
        trees.append((size, tuple(ordered.order[begin:last])))
        last = begin
    return [members for _, members in sorted(trees, key=lambda tree: tree[0], reverse=True)]


def cost(sizes: Int[np.ndarray, " _"], max_tokens: int) -> Int[np.ndarray, " _"]:
    """Of trees in one forward: attention grows with the square of a tree, all else with the tree.

    In the largest tree both are taken to be equal, which is right within a factor of a few, and
    enough to leave trajectories apart that share little.
    """
    return sizes * (max_tokens + sizes)


@dataclass(frozen=True)
class Forest:
    """Trees side by side, as a model takes them."""

    input_ids: Int[Tensor, "B S"]
    position_ids: Int[Tensor, "B S"]
    attention_mask: Bool[Tensor, "B 1 S S"]


def stack(trees: Sequence[PrefixTree], pad_id: int) -> Forest:
    """Trees filled up at the end with tokens that see only themselves."""
    width = max(len(tree.tokens) for tree in trees)
    input_ids = np.full((len(trees), width), pad_id)
    position_ids = np.zeros((len(trees), width), dtype=np.int64)
    mask = np.broadcast_to(np.eye(width, dtype=bool), (len(trees), width, width)).copy()
    for row, tree in enumerate(trees):
        size = len(tree.tokens)
        input_ids[row, :size] = tree.tokens
        position_ids[row, :size] = tree.positions
        mask[row, :size, :size] = tree.visible
    return Forest(
        torch.from_numpy(input_ids), torch.from_numpy(position_ids), torch.from_numpy(mask)[:, None]
    )
