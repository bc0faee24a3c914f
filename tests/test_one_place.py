"""One fact, one place: words of settings, and the discount of returns."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from opid_lightning.callbacks.skill_extraction import with_gamma
from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.hindsight.analysts.self_hindsight import SelfHindsight
from opid_lightning.hindsight.analysts.vllm_server import VLLMServer
from opid_lightning.hindsight.prompt import analysis_messages
from opid_lightning.method.advantage import Advantage
from opid_lightning.value_checks import check_words
from tests.builders import step_of, trajectory_of

MODULES = [*Path("opid_lightning").glob("**/*.py"), *Path("callbacks").glob("*.py")]
URL = "http://127.0.0.1:1/v1"
ASKING = [SelfHindsight(), VLLMServer("m", base_url=URL), OpenAI("m", base_url=URL)]


def texts(node: ast.AST) -> frozenset[str]:
    """The words of a list of texts alone; else empty."""
    parts = getattr(node, "elts", ())
    words = [each.value for each in parts if isinstance(each, ast.Constant)]
    is_whole = len(words) == len(parts) > 1 and all(isinstance(word, str) for word in words)
    return frozenset(words) if is_whole else frozenset()


def word_lists() -> Counter[frozenset[str]]:
    """How often each set of words that is some Literal's is written down."""
    trees = [ast.parse(path.read_text()) for path in MODULES]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    literals = {
        texts(node.slice)
        for node in nodes
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal"
    } - {frozenset()}
    lists = map(texts, (each for each in nodes if isinstance(each, (ast.Tuple, ast.List, ast.Set))))
    return Counter(words for words in lists if words in literals)


def test_the_words_of_a_setting_are_written_once() -> None:
    found = word_lists()
    assert frozenset({"brief", "instructive"}) in found
    assert [sorted(words) for words, count in found.items() if count > 1] == []


@dataclass(frozen=True)
class Drink:
    kind: Literal["tea", "coffee"] = "tea"
    size: int = 1


def test_words_are_checked_by_the_type_of_their_field() -> None:
    check_words("drink", Drink("coffee"))
    wrong: Any = "milk"
    with pytest.raises(ValueError, match=r"^drink\.kind is 'milk'; expected one of tea, coffee$"):
        check_words("drink", Drink(wrong))


@pytest.mark.parametrize("analyst", ASKING, ids=lambda analyst: type(analyst).__name__)
def test_an_analyst_takes_the_discount_of_the_advantage(analyst: Any) -> None:
    assert analyst.gamma is None
    assert with_gamma(analyst, 0.5).gamma == 0.5
    assert with_gamma(with_gamma(analyst, 0.5), 0.5).gamma == 0.5  # of a run that resumes


def test_the_server_that_is_asked_has_the_discount_too() -> None:
    found: Any = with_gamma(ASKING[1], 0.5)
    assert found.openai.gamma == 0.5


def test_an_analyst_with_another_discount_is_refused() -> None:
    said = "analyst.gamma is 0.5, but advantage.gamma is 0.95.*leave analyst.gamma out"
    with pytest.raises(ValueError, match=said):
        with_gamma(SelfHindsight(gamma=0.5), 0.95)


def test_an_analyst_without_use_for_a_discount_stays_as_it_is() -> None:
    rules = Rules()
    assert with_gamma(rules, 0.5) is rules


def test_outside_of_a_run_the_discount_is_the_default_of_the_advantage() -> None:
    trajectory = trajectory_of(step_of(0, "look", "A."), step_of(1, "wait", "B."))
    messages = analysis_messages(trajectory, (0, 1))
    assert messages == analysis_messages(trajectory, (0, 1), gamma=Advantage().gamma)
    assert messages != analysis_messages(trajectory, (0, 1), gamma=0.5)
