import dataclasses
import multiprocessing
import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from opid_lightning.hindsight.cache import AnalysisCache, Question, trajectory_key
from opid_lightning.types import Analysis, Observation, Skills, Usage
from tests.builders import step_of, trajectory_of

TRAJECTORY = trajectory_of(step_of(0, "look", "A."), step_of(1, "wait", "B."))
QUESTION = Question(TRAJECTORY, (0, 1), "glm 1")
SKILLS = Skills("Search é.", {1: "a", 0: "b"}, "s")
PAID = Usage(requests=2, retries=1, prompt_tokens=100, completion_tokens=20, cost=0.25)
SUCCESS = Analysis(SKILLS, detail="one dropped", usage=PAID)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "analyses.sqlite"


@pytest.fixture
def cache(path):
    cache = AnalysisCache(path)
    yield cache
    cache.close()


def test_an_answer_comes_back_in_its_order_and_costs_nothing(cache):
    assert cache.get(QUESTION.key) is None
    assert cache.put(QUESTION, SUCCESS, "run") == SUCCESS
    found = cache.get(QUESTION.key)
    assert found == Analysis(SKILLS, detail="one dropped")
    assert list(found.skills.step_skills) == [1, 0]


def test_what_was_asked_is_the_trajectory_its_candidates_and_the_analyst():
    assert Question(TRAJECTORY, (0, 1), "glm 1").key == QUESTION.key
    others = {
        Question(TRAJECTORY, (0,), "glm 1").key,
        Question(TRAJECTORY, (0, 1), "glm 2").key,
        Question(trajectory_of(*TRAJECTORY.steps, won=True), (0, 1), "glm 1").key,
        QUESTION.key,
    }
    assert len(others) == 4


def test_the_key_is_what_an_analyst_can_see_and_nothing_else():
    steps = TRAJECTORY.steps
    key = trajectory_key(TRAJECTORY)
    assert trajectory_key(trajectory_of(*steps, task_id="x", attempt=7, kind="y")) == key
    renamed = dataclasses.replace(steps[0].completion, request_id="z", logprobs=())
    assert (
        trajectory_key(trajectory_of(dataclasses.replace(steps[0], completion=renamed), steps[1]))
        == key
    )
    assert trajectory_key(trajectory_of(*steps, won=True)) != key
    assert trajectory_key(trajectory_of(*steps, goal="sleep")) != key
    assert trajectory_key(trajectory_of(steps[0])) != key
    for changed in (
        step_of(0, "look", "C."),
        step_of(0, "jump", "A."),
        step_of(0, "look", "A.", reward=1.0),
        step_of(0, "look", "A.", admissible=["look"]),
        step_of(0, "look", "A.", is_valid=False),
        step_of(0, "look", "A.", response="Look!"),
    ):
        assert trajectory_key(trajectory_of(changed, steps[1])) != key


@pytest.mark.parametrize(
    ("failure", "usage", "is_kept"),
    [
        ("not_json", PAID, True),
        ("timeout", Usage(requests=3, retries=2), False),
        ("budget", Usage(), False),
    ],
)
def test_a_failure_is_kept_where_its_reply_was_paid_for(cache, failure, usage, is_kept):
    failed = Analysis(None, failure, "why \udcff", usage)
    returned = cache.put(QUESTION, failed, "run")
    assert (returned.skills, returned.failure, returned.usage) == (None, failure, usage)
    kept = Analysis(None, failure, "why ?") if is_kept else None
    assert cache.get(QUESTION.key) == kept
    assert cache.spent("run") == usage


def test_a_failure_that_is_not_kept_gives_way_to_a_later_answer(cache):
    cache.put(QUESTION, Analysis(None, "timeout", usage=Usage(requests=1)), "run")
    cache.put(QUESTION, SUCCESS, "run")
    assert cache.get(QUESTION.key) == Analysis(SKILLS, detail="one dropped")
    assert cache.spent("run") == Usage(3, 1, 0, 100, 20, 0.25)


def test_the_first_answer_stands_and_the_second_is_still_paid(cache):
    cache.put(QUESTION, SUCCESS, "one")
    other = Analysis(Skills("Wait.", {}), usage=Usage(requests=1, completion_tokens=3))
    stands = cache.put(QUESTION, other, "two")
    assert stands == Analysis(SKILLS, detail="one dropped", usage=other.usage)
    assert cache.get(QUESTION.key) == Analysis(SKILLS, detail="one dropped")
    assert cache.spent("two") == other.usage


def test_each_run_is_booked_by_itself(cache):
    other = dataclasses.replace(QUESTION, identity="other")
    cache.put(QUESTION, SUCCESS, "one")
    cache.put(other, SUCCESS, "one")
    assert cache.spent("one") == PAID + PAID
    assert cache.spent("two") == Usage()


def question_of(number):
    return dataclasses.replace(QUESTION, identity=f"glm {number}")


def test_threads_share_it(cache):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: cache.put(question_of(n % 50), SUCCESS, "run"), range(400)))
    assert all(cache.get(question_of(n).key) for n in range(50))
    assert cache.spent("run").requests == 800


def fill(path, run, start):
    start.wait()
    cache = AnalysisCache(path)
    for number in range(100):
        skills = Skills(f"by {run}", {})
        cache.put(question_of(number), Analysis(skills, usage=PAID), run)
    cache.close()


def test_processes_that_begin_at_once_share_it_and_agree(path):
    start = multiprocessing.get_context("spawn").Event()
    runs = [str(number) for number in range(2)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(path, run, start)) for run in runs]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    cache = AnalysisCache(path)
    assert [cache.spent(run).requests for run in runs] == [200] * 2
    assert all(cache.get(question_of(n).key).skills for n in range(100))
    cache.close()


@pytest.mark.parametrize("others", ["BEGIN IMMEDIATE", "BEGIN; SELECT * FROM answers"])
def test_a_new_file_that_another_rank_is_using_is_waited_for(cache, path, others):
    """SQLite itself refuses at once to begin a write-ahead log beside others."""
    cache._connection.execute("PRAGMA journal_mode = DELETE")  # as a new file begins
    cache._connection.executescript(others)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(AnalysisCache, path)
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.3)
        cache._connection.execute("COMMIT")
        other = opening.result(timeout=60)
    other.put(QUESTION, SUCCESS, "run")
    assert other._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert cache.get(QUESTION.key) == Analysis(SKILLS, detail="one dropped")
    other.close()


def put_and_die(path):
    cache = AnalysisCache(path)
    cache.put(QUESTION, SUCCESS, "run")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_put_survives_a_kill(path):
    process = multiprocessing.get_context("spawn").Process(target=put_and_die, args=(path,))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    cache = AnalysisCache(path)
    assert cache.get(QUESTION.key) == Analysis(SKILLS, detail="one dropped")
    assert cache.spent("run") == PAID
    cache.close()


def test_closed_it_is_a_single_file(path):
    cache = AnalysisCache(path)
    cache.put(QUESTION, SUCCESS, "run")
    cache.close()
    assert [file.name for file in path.parent.iterdir()] == ["analyses.sqlite"]


def foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()


def of_another_version(path):
    AnalysisCache(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()


def damaged(path):
    cache = AnalysisCache(path)
    for number in range(100):
        cache.put(question_of(number), SUCCESS, "run")
    cache.close()
    content = bytearray(path.read_bytes())
    content[8192:16384] = b"\xa5" * 8192
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_text("a diary\n" * 1000), "file is not a database"),
        (foreign, "a database of another program"),
        (of_another_version, "it is of version 9, where 1 is expected"),
        (damaged, "malformed"),
        (lambda path: path.mkdir(), "unable to open"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_and_left_alone(tmp_path, spoil, reason):
    path = tmp_path / "analyses.sqlite"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ValueError, match=rf"analyses\.sqlite cannot be used .*{reason}.*cache"):
        AnalysisCache(path)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be used as a file of analyses"):
        AnalysisCache(tmp_path / "file" / "analyses.sqlite")


def test_it_waits_for_another_process_that_writes(cache, path):
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.rollback)
    timer.start()
    cache.put(QUESTION, SUCCESS, "run")
    timer.join()
    other.close()
    assert cache.get(QUESTION.key)


def test_the_observation_itself_need_not_be_text_of_a_kind(cache):
    odd = dataclasses.replace(step_of(), observation=Observation("\udcff\x00"))
    question = Question(trajectory_of(odd, task_id="\udcff"), (0, 1), "glm")
    cache.put(question, SUCCESS, "run")
    assert cache.get(question.key) == Analysis(SKILLS, detail="one dropped")
