"""A file of analyses that fails while a run uses it, or holds what no reply could say."""

import json
import sqlite3

import pytest

from opid_lightning.hindsight import cache as cache_module
from opid_lightning.hindsight.analysts.replay import Replay
from opid_lightning.hindsight.budget import Budget
from opid_lightning.hindsight.cache import AnalysisCache, CacheFaults, Question
from opid_lightning.hindsight.stream import AnalysisStream
from opid_lightning.types import Analysis, Skills
from tests.hindsight.cache_faults import edit, fill_up, locked, make_room
from tests.hindsight.test_cache import PAID, QUESTION, SKILLS, SUCCESS, TRAJECTORY, question_of
from tests.hindsight.test_stream import Analyst, playing, submit

STANDS = Analysis(SKILLS, detail="one dropped")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "analyses.sqlite"


@pytest.fixture
def cache(path):
    cache = AnalysisCache(path, busy_s=0.05)
    yield cache
    cache.close()


def put_two(cache):
    """Returns what of both can be had afterwards."""
    for number in range(2):
        assert cache.put(question_of(number), SUCCESS, "run") == SUCCESS
    return [cache.get(question_of(number).key) for number in range(2)]


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_what_a_locked_file_cannot_take_is_held_and_written_later(cache, path, how, caplog):
    with locked(path, how):
        assert put_two(cache) == [STANDS] * 2
        assert cache.spent("run") == PAID + PAID
        assert caplog.text.count("database is locked") == 1
        assert "continues without it" in caplog.text
    assert cache.new_faults() == CacheFaults(unstored=2)
    assert cache.new_faults() == CacheFaults()
    cache.close()
    other = AnalysisCache(path)
    assert [other.get(question_of(n).key) for n in range(2)] == [STANDS] * 2
    assert other.spent("run") == PAID + PAID
    other.close()


def test_a_full_file_takes_everything_once_there_is_room(cache, path, caplog):
    fill_up(cache)
    assert put_two(cache) == [STANDS] * 2
    assert caplog.text.count("disk is full") == 1
    make_room(cache)
    cache._retry_at = 0.0
    cache.put(question_of(2), SUCCESS, "run")
    assert "takes analyses again" in caplog.text
    other = AnalysisCache(path)
    assert all(other.get(question_of(n).key) for n in range(3))
    assert other.spent("run") == PAID + PAID + PAID
    other.close()


def test_what_is_never_stored_is_counted_at_the_end(cache, caplog):
    fill_up(cache)
    put_two(cache)
    cache.close()
    assert "2 analyses could not be stored" in caplog.text


def test_a_file_that_failed_is_not_waited_for_again_and_again(path):
    cache = AnalysisCache(path, busy_s=0.5)
    with locked(path):
        put_two(cache)
        (timeout_ms,) = cache._connection.execute("PRAGMA busy_timeout").fetchone()
        assert timeout_ms == 1000 * cache_module.FAILED_BUSY_S
    cache.close()


def test_the_first_answer_stands_while_it_is_held(cache, path):
    later = Analysis(Skills("Later.", {}), usage=PAID)
    with locked(path):
        cache.put(QUESTION, SUCCESS, "run")
        assert cache.put(QUESTION, later, "run").skills == SKILLS


def test_a_budget_counts_what_could_not_be_stored(path):
    cache = AnalysisCache(path)
    fill_up(cache)
    stream = AnalysisStream(Analyst(), cache, "run", 1, Budget(cost=1.0))
    submit(stream, *(playing(n) for n in range(4)))
    failures = [outcome.analysis.failure for outcome in stream.collect().values()]
    assert failures == ["", "", "budget", "budget"]
    stream.close()


def test_a_damaged_file_costs_no_answer_of_this_run(cache, path, caplog):
    cache._connection.execute("DROP TABLE answers")
    assert put_two(cache) == [STANDS] * 2
    assert caplog.text.count("no such table") == 1


@pytest.mark.parametrize(
    ("how", "named"),
    [("BEGIN EXCLUSIVE", r"locked\)\. End the program that holds it.*skill_extraction\.cache")],
)
def test_a_file_that_is_locked_when_it_is_opened_is_named(path, how, named):
    AnalysisCache(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    with locked(path, how), pytest.raises(ValueError, match=named):
        AnalysisCache(path, busy_s=0.05)


def skills_of(episode_skill="k", step_skills=None, summary="s"):
    texts = {"episode_skill": episode_skill, "episode_summary": summary}
    return json.dumps({**texts, "step_skills": step_skills or {}})


UNUSABLE = [
    ("{}", "not_json"),
    ("[" * 100_000, "not_json"),
    ("[1]", "not_json"),
    (b"\xff\xfe", "not_json"),
    (7, "not_json"),
    (skills_of({"a": 1}, {"first": "x"}), "not_json"),
    (skills_of(" "), "blank_skill"),
    (skills_of(None), "blank_skill"),
    (skills_of("x" * 4001), "too_long"),
    (skills_of(step_skills={"0": "x" * 4001}), "too_long"),
    (skills_of(step_skills={"2": "there are two steps"}), "step_out_of_range"),
]


@pytest.mark.parametrize(("skills", "reason"), UNUSABLE)
def test_an_answer_that_no_reply_could_give_is_asked_anew(cache, path, skills, reason, caplog):
    cache.put(QUESTION, SUCCESS, "run")
    edit(path, skills=skills)
    assert cache.get(QUESTION.key) is None
    assert cache.new_faults() == CacheFaults(rejected=1)
    assert QUESTION.key in caplog.text and reason in caplog.text
    cache.put(QUESTION, SUCCESS, "run")
    assert cache.get(QUESTION.key) == STANDS


@pytest.mark.parametrize(("skills", "reason"), UNUSABLE)
def test_replayed_it_fails_as_the_reply_would(cache, path, skills, reason, caplog):
    cache.put(QUESTION, SUCCESS, "run")
    edit(path, skills=skills)
    cache.put(Question(TRAJECTORY, (0,), "glm 1"), SUCCESS, "run")
    analysis = Replay(str(path))(TRAJECTORY, (0, 1))
    assert (analysis.skills, analysis.failure) == (None, reason)
    assert "1 of its 2 answers cannot be used" in caplog.text and reason in caplog.text


def test_a_file_of_which_no_answer_can_be_used_is_not_replayed(cache, path):
    cache.put(QUESTION, SUCCESS, "run")
    edit(path, skills="{}")
    with pytest.raises(ValueError, match=r"1 of its 1 answers cannot be used.*not_json"):
        Replay(str(path))


@pytest.mark.parametrize("failure", ["", "a b", "x" * 41, 'a"] = 1'])
def test_a_failure_that_names_no_metric_is_asked_anew(cache, path, failure):
    cache.put(QUESTION, Analysis(None, "not_json", usage=PAID), "run")
    edit(path, failure=failure)
    assert cache.get(QUESTION.key) is None


def test_texts_are_made_plain_again_and_steps_that_are_no_candidates_left_out(cache, path):
    cache.put(QUESTION, SUCCESS, "run")
    edit(path, skills=skills_of("Say <|im_end|> it.", {"1": "Stop\u200b.", "9": "Fly."}))
    found = cache.get(QUESTION.key)
    assert found.skills == Skills("Say it.", {1: "Stop."}, "s")
    assert found.detail == "one dropped; left out: 1 step_out_of_range"
    assert Replay(str(path))(TRAJECTORY, (0, 1)) == found


def test_what_any_analyst_returns_is_checked_as_what_is_read(path):
    """So that a resumed run has the skills of the uninterrupted one."""
    odd = Skills("Say <|im_end|> it.", {0: "Go.", 5: "Fly."})
    analyst = Analyst({"goal 0": Analysis(odd, usage=PAID), "goal 1": Analysis(Skills(" ", {}))})
    stream = AnalysisStream(analyst, AnalysisCache(path), "run")
    for _ in range(2):
        submit(stream, playing(0), playing(1))
        first, second = (outcome.analysis for outcome in stream.collect().values())
        assert first.skills == Skills("Say it.", {0: "Go."})
        assert (second.skills, second.failure) == (None, "blank_skill")
    assert analyst.asked["goal 0"] == 1
    stream.close()
