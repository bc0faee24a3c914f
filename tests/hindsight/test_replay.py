import sqlite3
from dataclasses import replace

import pytest

from opid_lightning.hindsight.analysts.replay import Replay
from opid_lightning.hindsight.cache import AnalysisCache, Question
from opid_lightning.types import Analysis, Skills, Usage
from tests.builders import step_of, trajectory_of

TRAJECTORY = trajectory_of(step_of(0, "look", "A."), step_of(1, "wait", "B."))
QUESTION = Question(TRAJECTORY, (0, 1), "glm")
SKILLS = Skills("Search é.", {1: "a", 0: "b"}, "s")
OTHERS = Skills("Wait.", {})
PAID = Usage(requests=1, completion_tokens=5, cost=1.0)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "analyses.sqlite")


@pytest.fixture
def cache(path):
    cache = AnalysisCache(path)
    yield cache
    cache.close()


def test_an_analysis_comes_back_in_its_order_and_costs_nothing(cache, path):
    cache.put(QUESTION, Analysis(SKILLS, usage=PAID), "run")
    again = trajectory_of(*TRAJECTORY.steps, task_id="other", attempt=3)
    analysis = Replay(path)(again, range(2))
    assert analysis == Analysis(SKILLS)
    assert list(analysis.skills.step_skills) == [1, 0]


def test_a_failure_fails_again_for_the_same_reason(cache, path):
    cache.put(QUESTION, Analysis(None, "truncated", "in the middle", PAID), "run")
    assert Replay(path)(TRAJECTORY, range(2)) == Analysis(None, "truncated", "in the middle")


def test_the_newest_counts_unless_an_analyst_is_named(cache, path):
    cache.put(QUESTION, Analysis(SKILLS), "run")
    cache.put(replace(QUESTION, identity="other"), Analysis(OTHERS), "run")
    assert Replay(path)(TRAJECTORY, (0, 1)).skills == OTHERS
    assert Replay(path, "glm")(TRAJECTORY, (0, 1)).skills == SKILLS


@pytest.mark.parametrize(
    ("trajectory", "candidates"),
    [(trajectory_of(step_of(0, "jump"), task_id="other", attempt=3), (0,)), (TRAJECTORY, (0,))],
)
def test_what_was_not_asked_is_not_recorded(cache, path, trajectory, candidates):
    cache.put(QUESTION, Analysis(SKILLS), "run")
    analysis = Replay(path)(trajectory, candidates)
    assert (analysis.skills, analysis.failure) == (None, "not_recorded")
    assert analysis.detail == f"{path} has none of {trajectory.id}"


def test_it_reads_while_a_run_still_writes_and_writes_nothing(cache, path):
    cache.put(QUESTION, Analysis(SKILLS), "run")
    replay = Replay(path)
    cache.put(replace(QUESTION, candidates=(1,)), Analysis(OTHERS), "run")
    assert replay(TRAJECTORY, (1,)).failure == "not_recorded"
    assert Replay(path)(TRAJECTORY, (1,)).skills == OTHERS


def test_a_missing_file_is_named_with_what_makes_one(tmp_path):
    with pytest.raises(ValueError, match=r"none\.sqlite', which is no file.*SkillExtraction"):
        Replay(str(tmp_path / "none.sqlite"))


def test_a_file_without_analyses_is_refused(cache, path):
    with pytest.raises(ValueError, match="which holds no analyses"):
        Replay(path)
    cache.put(QUESTION, Analysis(SKILLS), "run")
    with pytest.raises(ValueError, match="which holds no analyses of the analyst GLM"):
        Replay(path, "GLM")


def test_a_file_that_is_none_of_ours_is_refused(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(ValueError, match=r"of another program.*analyst\.path"):
        Replay(path)


def test_it_keeps_the_most_important_step_skills(cache, path):
    cache.put(QUESTION, Analysis(Skills("e", {1: "first", 0: "second"}, "s")), "run")
    kept = Replay(path, max_step_skills=1)(TRAJECTORY, (0, 1)).skills
    assert kept == Skills("e", {1: "first"}, "s")
