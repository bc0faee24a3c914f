"""How a response becomes an action; the cases follow the paper's code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.responses import read_action
from opid_lightning.types import Observation

THOUGHT = "<think>I should look around.</think>"


@pytest.mark.parametrize(
    ("response", "action", "is_valid"),
    [
        (THOUGHT + "<action>go to fridge 1</action>", "go to fridge 1", True),
        (THOUGHT + "<action>GO TO Fridge 1</action>", "go to fridge 1", True),
        (THOUGHT + "<ACTION>look</Action>", "look", True),
        ("<THINK>hm</THINK><action>look</action>", "look", False),
        ("hm</think><action>look</action>", "look", False),
        ("<think>hm<action>look</action>", "look", False),
        ("</think><think><action>look</action>", "look", True),
        ("<action>look</action><think></think>", "look", True),
        ("<thinking>hm</thinking><action>look</action>", "look", False),
        (THOUGHT + "<action>look</action><action>help</action>", "look", True),
        (THOUGHT + "<action>a<action>b</action>", "a<action>b", True),
        (THOUGHT + "</action> look <action>", "", True),
        (THOUGHT + "</action><action>look</action>", "", True),
        (THOUGHT + "<action>  \n </action>", "", True),
        (THOUGHT + "<action> look\n</action>", "look", True),
        (THOUGHT + "<action>look.</action>", "look.", True),
        (THOUGHT + "<action>STRAßE</action>", "straße", True),
        (THOUGHT + "<action>İ</action>", "i\u0307", True),
        ("", "", False),
        ("x" * 31, "x" * 30, False),
        (
            "I would go NORTH now and look at things\n\n\n",
            "orth now and look at things\n\n\n",
            False,
        ),
        (
            "hm <action>Go to Fridge 1, then OPEN it",
            "n>go to fridge 1, then open it",
            False,
        ),
        ("<think></think> Look around</action>", "></think> look around</action>", False),
    ],
)
def test_first_tags_hold_the_action_and_both_think_tags_make_it_valid(response, action, is_valid):
    read = read_action(response)
    assert (read.text, read.is_valid) == (action, is_valid)


@pytest.mark.parametrize(
    ("character", "is_valid"),
    [
        ("\u4dff", True),
        ("\u4e00", False),
        ("\u9fff", False),
        ("\ua000", True),
        ("한", True),
        ("か", True),
        ("\u3400", True),
        ("😀", True),
    ],
)
def test_only_han_characters_make_a_response_invalid(character, is_valid):
    response = f"{THOUGHT}<action>look</action>{character}"
    assert read_action(response).is_valid == is_valid
    assert read_action(response).text == "look"


TAGS = ["<think>", "</think>", "<action>", "</action>", "<ACTION>", "Look ", "中", " "]


@given(st.lists(st.sampled_from(TAGS) | st.text(max_size=5)).map("".join))
def test_reading_never_raises_and_a_valid_response_had_all_four_tags(response):
    action = read_action(response)
    if action.is_valid:
        assert "<think>" in response and "</think>" in response
        assert "<action>" in response.lower() and "</action>" in response.lower()
        assert action.text == action.text.strip()


def test_validity_admissible_asks_for_a_listed_command_as_well():
    seen = Observation("a room", admissible=("look", "inventory"))
    good, bad = (f"{THOUGHT}<action>{text}</action>" for text in ("look", "go to moon 1"))
    by_format, by_list = ALFWorld(), ALFWorld(validity="admissible")
    assert by_format.action(good, seen).is_valid and by_format.action(bad, seen).is_valid
    assert by_list.action(good, seen).is_valid and not by_list.action(bad, seen).is_valid
    assert by_list.action(bad, seen).text == "go to moon 1"
    assert not by_list.action("look", seen).is_valid
