"""Stored prompts: the longest match is found, and the bound holds."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.sampling.hf.key_values import KeysAndValues, PrefixCache


def keys_and_values(prompt: tuple[int, ...]) -> KeysAndValues:
    """One layer, one head, that hold the token itself."""
    tokens = torch.tensor(prompt, dtype=torch.float32)[None, :, None]
    return ((tokens, -tokens),)


def filled(max_tokens: int, *prompts: tuple[int, ...]) -> PrefixCache:
    cache = PrefixCache(max_tokens)
    for prompt in prompts:
        cache.store(prompt, keys_and_values(prompt))
    return cache


def test_the_stored_prompt_with_the_longest_prefix_is_found() -> None:
    cache = filled(100, (1, 2, 3, 4), (1, 2, 9), (7,))
    match = cache.longest_match((1, 2, 3, 8, 8))
    assert match.num_shared == 3
    assert match.found[0][0].flatten().tolist() == [1, 2, 3, 4]


def test_a_prompt_that_nothing_begins_like_matches_nothing() -> None:
    assert filled(100, (1, 2), (7,)).longest_match((5, 1, 2)).num_shared == 0
    assert filled(100).longest_match((5,)).num_shared == 0


def test_the_prompt_stored_longest_ago_goes_first() -> None:
    cache = filled(5, (1, 1), (2, 2), (1, 1), (3, 3))  # (1, 1) was renewed
    assert list(cache.stored) == [(1, 1), (3, 3)]
    assert cache.longest_match((2, 2)).num_shared == 0


def test_a_prompt_larger_than_the_cache_drives_nothing_out() -> None:
    assert list(filled(3, (1, 2, 3), (4, 5, 6, 7)).stored) == [(1, 2, 3)]


PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=20)


@given(PROMPTS, st.integers(1, 20), st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_any_prompts_keep_the_bound_and_give_the_best_match(
    prompts: list[tuple[int, ...]], max_tokens: int, wanted: list[int]
) -> None:
    cache = filled(max_tokens, *prompts)
    assert sum(map(len, cache.stored)) == cache.num_tokens <= max_tokens
    assert cache.ordered == sorted(cache.stored)
    match = cache.longest_match(tuple(wanted))
    beginnings = [wanted[:length] for length in range(1, len(wanted) + 1)]
    shared = [
        sum(list(stored[: len(first)]) == first for first in beginnings) for stored in cache.stored
    ]
    assert match.num_shared == max(shared, default=0)
    if match.num_shared:
        found = match.found[0][0].flatten().tolist()
        assert found[: match.num_shared] == wanted[: match.num_shared]
