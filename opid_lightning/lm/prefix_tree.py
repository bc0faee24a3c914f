"""Sequences that begin alike as one tree: what they share is computed once.

Two steps of an episode, prompts `a b` and `a b c`, responses `x y` and `z`:

    a ─ b ─ x ─ y          tokens     a b x y c z
        └── c ─ z          positions  0 1 2 3 2 3

Each token attends to itself and its ancestors, so that every branch sees what it would see alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from opid_lightning.types import TokenIds


@dataclass(frozen=True)
class PrefixTree:
    """Tokens with their parents first. N tokens."""

    tokens: Int[np.ndarray, " N"]
    parents: Int[np.ndarray, " N"]  # -1 for a root
    paths: tuple[Int[np.ndarray, " _"], ...]  # the tokens of each sequence, from its root

    @property
    def positions(self) -> Int[np.ndarray, " N"]:
        depths = np.zeros(len(self.tokens), dtype=np.int64)
        for node, parent in enumerate(self.parents):
            depths[node] = depths[parent] + 1 if parent >= 0 else 0
        return depths

    @property
    def visible(self) -> Bool[np.ndarray, "N N"]:
        """Which tokens (columns) each token (row) attends to."""
        mask = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                mask[node] |= mask[parent]
        return mask


def merge(sequences: Sequence[TokenIds]) -> PrefixTree:
    """The tree of these sequences."""
    tokens: list[int] = []
    parents: list[int] = []
    children: dict[tuple[int, int], int] = {}
    paths: list[np.ndarray] = []
    for sequence in sequences:
        node, path = -1, []
        for token in sequence:
            child = children.get((node, token))
            if child is None:
                child = children[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
            path.append(node := child)
        paths.append(np.array(path))
    return PrefixTree(np.array(tokens), np.array(parents), tuple(paths))


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
