"""Trees against their definition: a token for every different beginning."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.lm.forward.prefix_tree import PrefixTree, cut, merge, stack
from opid_lightning.types import TokenIds

# Few tokens, so that many sequences begin alike, equal one another, or end inside another.
SEQUENCES = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple), min_size=1)
FEW = st.lists(
    st.lists(st.integers(1, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=6
)
A, B, C, X, Y, Z = 1, 2, 3, 7, 8, 9


def ancestors(tree: PrefixTree, node: int) -> list[int]:
    """With the node itself, root first."""
    return [*ancestors(tree, tree.parents[node]), int(node)] if node >= 0 else []


def num_beginnings(sequences: list[TokenIds]) -> int:
    return len({sequence[: i + 1] for sequence in sequences for i in range(len(sequence))})


def test_two_steps_of_an_episode() -> None:
    tree = merge([(A, B, X, Y), (A, B, C, Z)])
    assert tree.tokens.tolist() == [A, B, C, Z, X, Y]
    assert tree.positions.tolist() == [0, 1, 2, 3, 2, 3]
    assert tree.parents.tolist() == [-1, 0, 1, 2, 1, 4]
    assert [path.tolist() for path in tree.paths] == [[0, 1, 4, 5], [0, 1, 2, 3]]
    assert tree.visible.astype(int).tolist() == [
        # a b  c  z  x  y
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


@given(SEQUENCES)
def test_each_sequence_is_on_its_path(sequences: list[TokenIds]) -> None:
    tree = merge(sequences)
    for sequence, path in zip(sequences, tree.paths, strict=True):
        assert tuple(tree.tokens[path]) == sequence
        assert tree.positions[path].tolist() == [*range(len(sequence))]
        assert ancestors(tree, path[-1]) == path.tolist()


@given(SEQUENCES)
def test_there_is_a_token_for_every_beginning(sequences: list[TokenIds]) -> None:
    assert len(merge(sequences).tokens) == num_beginnings(sequences)


@given(SEQUENCES)
def test_a_token_sees_itself_and_its_ancestors(sequences: list[TokenIds]) -> None:
    tree = merge(sequences)
    for node, row in enumerate(tree.visible):
        assert np.flatnonzero(row).tolist() == ancestors(tree, node)


@given(st.lists(SEQUENCES, min_size=1, max_size=3))
def test_trees_side_by_side_do_not_see_their_padding(groups: list[list[TokenIds]]) -> None:
    trees = [merge(sequences) for sequences in groups]
    forest = stack(trees, pad_id=0)
    for row, tree in enumerate(trees):
        size = len(tree.tokens)
        mask = forest.attention_mask[row, 0]
        assert torch.equal(mask[:size, :size], torch.from_numpy(tree.visible))
        assert not mask[:size, size:].any() and mask.diagonal().all()
        assert forest.input_ids[row].tolist() == [*tree.tokens, *[0] * (mask.shape[0] - size)]


@given(SEQUENCES, st.integers(1, 20))
def test_each_sequence_is_in_one_tree_that_fits(sequences: list[TokenIds], limit: int) -> None:
    trees = cut(sequences, limit)
    assert sorted(index for tree in trees for index in tree) == [*range(len(sequences))]
    sizes = [num_beginnings([sequences[index] for index in tree]) for tree in trees]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size <= limit or len(tree) == 1 for size, tree in zip(sizes, trees, strict=True))


@given(FEW, st.integers(1, 12))
def test_no_other_cut_of_sorted_sequences_costs_less(sequences: list[TokenIds], limit: int) -> None:
    ordered = sorted(sequences)

    def fitting(parts: list[list[TokenIds]]) -> bool:
        return all(len(part) == 1 or num_beginnings(part) <= limit for part in parts)

    def cost(part: list[TokenIds]) -> int:
        return num_beginnings(part) * (limit + num_beginnings(part))

    lowest = min(
        sum(map(cost, parts))
        for num_cuts in range(max(1, len(ordered)))
        for cuts in combinations(range(1, len(ordered)), num_cuts)
        for parts in [[ordered[i:j] for i, j in zip((0, *cuts), (*cuts, None), strict=True)]]
        if fitting(parts)
    )
    trees = cut(sequences, limit)
    assert sum(cost([sequences[i] for i in tree]) for tree in trees) == lowest


def test_trajectories_are_not_torn_apart_to_fill_a_tree() -> None:
    one = [(1, *[5] * n) for n in (6, 7, 8)]  # 9 tokens
    other = [(1, *[6] * n) for n in (6, 7, 8)]
    # The first 12 tokens would be `one` and a part of `other`.
    assert sorted(map(sorted, cut([*one, *other], 12))) == [[0, 1, 2], [3, 4, 5]]


def test_what_shares_little_is_left_apart_where_both_would_fit() -> None:
    one, other = [(1, 5, 5, 5, 5, 5), (1, 5, 5, 5, 5, 6)], [(1, 6, 6, 6, 6, 6), (1, 6, 6, 6, 6, 7)]
    # 2 * 7 * (16 + 7) against 13 * (16 + 13)
    assert sorted(map(sorted, cut([*one, *other], 16))) == [[0, 1], [2, 3]]
