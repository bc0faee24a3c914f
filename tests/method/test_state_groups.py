from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.method.groups import describe_group_sizes, state_groups

TEXTS = st.lists(st.text("ab ", max_size=8), max_size=12)


def test_equal_observations_of_one_task_are_one_state():
    groups = state_groups(["q", "q", "r", "q"], ["door", "Door", "door", "door"])
    assert groups.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (1, 1.0, True),
        ([1, 2], (1, 2), True),
        ([1, 2], np.array([1, 2]), True),
        (np.array([[1, 2], [3, 4]]), np.array([1, 2, 3, 4]), True),
        ([[1, 2], [3, 4]], [1, 2, 3, 4], False),
        ({"a": 1, "b": [2]}, {"b": (2,), "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ("a", "a ", False),
        (np.float32(0.5), 0.5, True),
    ],
)
def test_what_makes_two_observations_the_same(one, other, is_same):
    groups = state_groups(["q", "q"], [one, other]).tolist()
    assert (groups[0] == groups[1]) == is_same


def test_an_observation_that_cannot_be_compared_is_refused():
    with pytest.raises(TypeError, match="NoneType"):
        state_groups(["q"], [None])


def test_similar_observations_join_the_first_group_whose_first_member_they_resemble():
    texts = ["aaaaaaaaaa", "aaaaaaaabb", "aaaaaabbbb", "aaaabbbbbb"]
    assert state_groups(["q"] * 4, texts, similarity=0.8).tolist() == [0, 0, 1, 1]


def test_repetitive_texts_of_200_characters_do_not_resemble_each_other():
    # difflib takes frequent characters of long texts for junk.
    texts = ["ab" * 150, "x" + "ab" * 150]
    assert state_groups(["q"] * 2, texts, similarity=0.9).tolist() == [0, 1]
    assert state_groups(["q"] * 2, [t[:190] for t in texts], similarity=0.9).tolist() == [0, 0]


@given(TEXTS)
def test_similarity_is_greedy_first_fit_by_the_ratio_of_new_to_first(texts):
    firsts, expected = [], []
    for text in texts:
        fits = (n for n, f in enumerate(firsts) if SequenceMatcher(None, text, f).ratio() >= 0.75)
        number = next(fits, len(firsts))
        firsts += [text] if number == len(firsts) else []
        expected.append(number)
    assert state_groups(["q"] * len(texts), texts, similarity=0.75).tolist() == expected


@pytest.mark.parametrize("observations", [[1, "a"], ["a", 1], [None, None]])
def test_only_texts_can_be_compared_for_similarity(observations):
    with pytest.raises(ValueError, match="state_similarity"):
        state_groups(["q", "q"], observations, similarity=0.9)
    assert state_groups(["q", "r"], observations, similarity=0.9).tolist() == [0, 1]


def test_group_sizes_by_hand():
    sizes = describe_group_sizes(state_groups(["q"] * 4, ["a", "b", "a", "a"]))
    assert (sizes["num_groups"], sizes["num_samples"], sizes["mean"]) == (2, 4, 2)
    assert (sizes["std"], sizes["min"], sizes["max"]) == (1, 1, 3)
    assert (sizes["size_3_group_count"], sizes["size_3_group_prop"]) == (1, 0.5)
    assert (sizes["size_3_sample_prop"], sizes["size_gt_10_group_count"]) == (0.75, 0)
