"""Short names, and where Lightning CLI keeps what they name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.cli.config.names import (
    PLACES,
    from_places,
    keys_of,
    remove_key,
    set_key,
    short,
    to_places,
)

values = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from([*PLACES, "trainer"]), values))
def test_places_and_back_is_the_same_tree(tree: dict[str, Any]) -> None:
    tree = {**tree, "callbacks": {"skill_extraction": {"class_path": "x", "init_args": {}}}}
    restored = from_places(to_places(tree))
    assert {name: restored[name] for name in tree} == tree


def test_the_analyst_goes_with_its_callback() -> None:
    tree = {"analyst": {"class_path": "a"}, "callbacks": {"skill_extraction": {"class_path": "s"}}}
    assert to_places(tree) == {
        "callbacks": {
            "skill_extraction": {"class_path": "s", "init_args": {"analyst": {"class_path": "a"}}}
        }
    }
    assert to_places({"analyst": {"class_path": "a"}, "callbacks": {}}) == {"callbacks": {}}


@pytest.mark.parametrize(
    ("key", "typed"),
    [
        ("data.env.init_args.max_steps", "env.max_steps"),
        ("model.optimizer.init_args.lr", "optimizer.lr"),
        ("callbacks.skill_extraction.init_args.analyst.init_args.model", "analyst.model"),
        ("callbacks.skill_extraction.analyst.model", "analyst.model"),
        ("data.environment", "data.environment"),
        ("trainer.max_epochs", "trainer.max_epochs"),
    ],
)
def test_keys_are_shown_as_they_are_typed(key: str, typed: str) -> None:
    assert short(key) == typed


@pytest.mark.parametrize("key", ["env.max_steps", "env.init_args.max_steps"])
def test_arguments_of_an_object_need_no_init_args(key: str) -> None:
    tree: dict[str, Any] = {"env": {"class_path": "x"}}
    set_key(tree, key, 3)
    assert tree == {"env": {"class_path": "x", "init_args": {"max_steps": 3}}}


def test_the_class_itself_can_be_set() -> None:
    tree: dict[str, Any] = {"env": {"class_path": "x", "init_args": {"a": 1}}}
    set_key(tree, "env.class_path", "y")
    assert tree["env"] == {"class_path": "y"}  # the other class has settings of its own


def test_a_mapping_is_merged() -> None:
    tree: dict[str, Any] = {"rollout": {"group_size": 8, "temperature": 1.0}}
    set_key(tree, "rollout", {"group_size": 4})
    assert tree == {"rollout": {"group_size": 4, "temperature": 1.0}}


def test_removing_says_whether_it_was_there() -> None:
    tree: dict[str, Any] = {"callbacks": {"a": {"class_path": "x", "init_args": {"n": 1}}}}
    assert remove_key(tree, "callbacks.a.n")
    assert tree == {"callbacks": {"a": {"class_path": "x", "init_args": {}}}}
    assert not remove_key(tree, "callbacks.b")
    assert not remove_key(tree, "nowhere.b")


def test_keys_are_those_of_mappings_and_values() -> None:
    assert keys_of({"env": {"init_args": {"max_steps": 1}}}) == {"env", "env.max_steps"}


def test_naming_the_class_that_is_there_keeps_its_settings() -> None:
    tree: dict[str, Any] = {"env": {"class_path": "x", "init_args": {"a": 1}}}
    set_key(tree, "env.class_path", "x")
    assert tree["env"] == {"class_path": "x", "init_args": {"a": 1}}
