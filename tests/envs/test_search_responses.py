import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.search.answers import last_answer, matches, normalise
from opid_lightning.envs.search.responses import read_action
from opid_lightning.types import Action

PIECES = ["<search>", "</search>", "<answer>", "</answer>", "<SEARCH>", "<think>", "</think>", "a "]


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("<think>who?</think><search> Ada </search>", Action("<search>Ada</search>", True)),
        ("<search>a</search><answer>b</answer>", Action("<search>a</search>", False)),
        ("<think>no <search></think><answer>x</answer>", Action("<answer>x</answer>", False)),
        ("</search><answer>x</answer>", Action("", False)),
        ("<answer>x</answer> and more", Action("<answer>x</answer>", True)),
        ("I would search for Ada", Action("", False)),
    ],
)
def test_what_a_response_does(response, action):
    assert read_action(response) == action


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=10))
def test_any_response_is_one_search_one_answer_or_nothing(pieces):
    action = read_action("".join(pieces))
    if not action.text:
        assert not action.is_valid
        return
    kind = action.text[1:7]
    assert kind in ("search", "answer")
    assert action.text.endswith(f"</{kind}>")
    assert action.text.count(f"</{kind}>") == 1


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The U.S.A., an ally", "usa ally"),
        ("co-op", "coop"),
        ("a1 the2", "a1 the2"),
        ("New\u00a0York", "new york"),
        ("The", ""),
    ],
)
def test_normalising_by_hand(text, plain):
    assert normalise(text) == plain


@given(st.text(max_size=20))
def test_normalising_twice_changes_nothing_more_than_articles(text):
    once = normalise(text)
    assert normalise(once) == " ".join(
        word for word in once.split() if word not in ("a", "an", "the")
    )


@given(st.text(max_size=10), st.lists(st.text(max_size=10), max_size=3))
def test_an_answer_is_right_if_it_is_any_of_the_golden_ones(answer, others):
    assert matches(f"The {answer}.", [*others, answer])


def test_the_last_pair_of_tags_is_the_answer():
    assert last_answer("<answer>a</answer> b <answer> c\n</answer> <answer>d") == "c"
    assert last_answer("none") is None
