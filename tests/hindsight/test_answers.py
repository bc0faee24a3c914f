"""What an own analyst returns is checked where it comes in, and the analyst is named."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from opid_lightning.cli.errors import is_for_the_user
from opid_lightning.hindsight.answers import ask, identity_of
from opid_lightning.hindsight.cache import AnalysisCache, Question
from opid_lightning.hindsight.stream import AnalysisStream
from opid_lightning.types import Analysis, Skills, Usage
from tests.builders import step_of, trajectory_of

PLAYED = trajectory_of(step_of(0), attempt=3, goal="open the box")
QUESTION = Question(PLAYED, (0,), "mine")


@dataclass(frozen=True)
class Mentor:
    answer: object = None
    identity: object = "mine"

    def start(self):
        """Needs nothing."""

    def close(self):
        """Holds nothing."""

    def __call__(self, trajectory, candidates):
        return self.answer


class Leaver(Mentor):
    def __call__(self, trajectory, candidates):
        sys.exit(0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("be careful", "returned 'be careful' (str); expected Analysis(skills) of"),
        (None, "returned None (NoneType); expected Analysis(skills) of"),
        (Skills("a", {}), "(Skills); expected Analysis(skills) of"),
        (Analysis("careful"), "Analysis.skills='careful' (str); expected Skills of"),
        (Analysis(Skills(None, {})), "Skills.episode_skill=None (NoneType); expected text"),
        (Analysis(Skills("a", ["b"])), "Skills.step_skills=['b'] (list); expected texts by"),
        (Analysis(Skills("a", {"0": "b"})), "a step skill as '0' (str); expected its number"),
        (Analysis(Skills("a", {True: "b"})), "a step skill as True (bool); expected its number"),
        (Analysis(Skills("a", {0: 5})), "a step skill=5 (int); expected text"),
        (Analysis(Skills("a", {}, b"c")), "Skills.episode_summary=b'c' (bytes); expected text"),
        (Analysis(None), "Analysis.failure='' (str); expected a short name in lower case"),
        (Analysis(None, "No idea!"), "Analysis.failure='No idea!' (str); expected a short name"),
        (Analysis(None, "mine", 3), "Analysis.detail=3 (int); expected text"),
        (Analysis(Skills("a", {}), usage=7), "Analysis.usage=7 (int); expected Usage of"),
        (Analysis(None, "mine", usage=Usage(requests=-1)), "Usage.requests=-1 (int); expected a w"),
        (
            Analysis(None, "mine", usage=Usage(prompt_tokens=2.5)),
            "Usage.prompt_tokens=2.5 (float); expected a whole number of at least 0",
        ),
        (
            Analysis(None, "mine", usage=Usage(cost=float("nan"))),
            "Usage.cost=nan (float); expected a number of at least 0",
        ),
    ],
)  # fmt: skip
def test_another_type_is_refused_for_the_user(answer: object, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        ask(Mentor(answer), QUESTION)
    assert said in str(raised.value)
    assert f"test_answers.Mentor: the analysis of {PLAYED.id!r} returned " in str(raised.value)
    assert is_for_the_user(raised.value)


def test_numbers_of_numpy_become_numbers_of_python() -> None:
    usage = Usage(requests=np.int64(2), cost=np.float32(0.5))
    found = ask(Mentor(Analysis(Skills("a", {np.int64(0): "b"}), usage=usage)), QUESTION)
    assert found == Analysis(Skills("a", {0: "b"}), usage=Usage(requests=2, cost=0.5))
    assert found.skills is not None
    assert {type(each) for each in (*found.skills.step_skills, found.usage.requests)} == {int}
    assert type(found.usage.cost) is float


def test_halves_of_characters_are_replaced() -> None:
    found = ask(Mentor(Analysis(Skills("a\ud800", {}))), QUESTION)
    assert found == Analysis(Skills("a\ufffd", {}))


def test_an_analyst_cannot_end_the_run_as_if_it_were_over() -> None:
    with pytest.raises(ValueError, match=r"Leaver: .* ended by sys\.exit\(0\) \(.*test_answers"):
        ask(Leaver(), QUESTION)


@pytest.mark.parametrize("identity", [lambda: "mine", None, 3, b"mine"])
def test_an_identity_that_is_no_text_is_refused(identity: object) -> None:
    with pytest.raises(ValueError, match=r"Mentor: identity is .*; expected text: an attribute, "):
        identity_of(Mentor(identity=identity), "kind")


def test_what_the_stream_hears_passes_the_same_checks(tmp_path) -> None:
    cache = AnalysisCache(tmp_path / "analyses.sqlite")
    stream = AnalysisStream(Mentor("be careful"), cache)
    stream.submit(PLAYED, (0,))
    with pytest.raises(ValueError, match="expected Analysis"):
        stream.collect(deadline_s=30)
    stream.close()
