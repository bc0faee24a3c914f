import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from opid_lightning.hindsight.budget import Budget
from opid_lightning.hindsight.cache import AnalysisCache, Question
from opid_lightning.hindsight.stream import AnalysisStream
from opid_lightning.protocols import AnalystUnavailableError
from opid_lightning.types import Analysis, Skills, Trajectory, Usage
from tests.builders import step_of, trajectory_of

ANSWER_S = 60  # for which an analyst whose gate is shut would be waited for
NO_WAIT_S = ANSWER_S / 2  # above what a busy machine needs, below what waiting would take
PAID = Usage(requests=1, prompt_tokens=100, completion_tokens=20, cost=0.5)


class Analyst:
    """Writes the trajectory's goal as its skill, once `gate` is open; counts what it is asked."""

    identity = "a"

    def __init__(self, answers=None, usage=PAID):
        self.gate = threading.Event()
        self.gate.set()
        self.asked = Counter()
        self.answers = answers or {}  # by goal; an exception is raised
        self.usage = usage
        self.begun = threading.Semaphore(0)
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()

    def start(self):
        """Needs nothing."""

    def close(self):
        """Holds nothing."""

    def __call__(self, trajectory, candidates):
        with self._lock:
            self.asked[trajectory.goal] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self.begun.release()
        assert self.gate.wait(timeout=ANSWER_S)
        with self._lock:
            self._at_once -= 1
        answer = self.answers.get(trajectory.goal)
        if isinstance(answer, BaseException):
            raise answer
        return answer or Analysis(Skills(trajectory.goal, {}), usage=self.usage)


def playing(number: int, goal: str | None = None) -> Trajectory:
    """Equal goals make equal trajectories."""
    return trajectory_of(step_of(0), attempt=number, goal=goal or f"goal {number}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "analyses.sqlite"


@pytest.fixture
def stream(path):
    """Of an analyst `stream.analyst`, and four workers."""
    with_analyst = AnalysisStream(Analyst(), AnalysisCache(path), "run", max_workers=4)
    yield with_analyst
    with_analyst.analyst.gate.set()
    with_analyst.close()


def submit(stream, *trajectories):
    for trajectory in trajectories:
        stream.submit(trajectory, (0,))


def eventually(is_true):
    until = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_every_trajectory_has_its_own_outcome(stream):
    played = [playing(n) for n in range(20)]
    submit(stream, *played)
    outcomes = stream.collect()
    assert {name: o.analysis.skills.episode_skill for name, o in outcomes.items()} == {
        trajectory.id: trajectory.goal for trajectory in played
    }
    assert stream.analyst.most_at_once <= 4
    assert stream.spent.requests == 20
    assert stream.collect() == {}


def test_submitting_does_not_wait_and_as_many_are_asked_at_once_as_there_are_workers(stream):
    stream.analyst.gate.clear()
    submit(stream, *(playing(n) for n in range(9)))
    for _ in range(4):
        assert stream.analyst.begun.acquire(timeout=20)
    assert not stream.analyst.begun.acquire(timeout=0.1)
    stream.analyst.gate.set()
    assert len(stream.collect()) == 9


def test_equal_trajectories_are_asked_about_once_and_paid_for_once(stream):
    stream.analyst.gate.clear()
    submit(stream, playing(0, "same"), playing(1, "same"), playing(2, "other"))
    stream.analyst.gate.set()
    outcomes = stream.collect()
    submit(stream, playing(3, "same"))
    outcomes |= stream.collect()
    assert stream.analyst.asked == {"same": 1, "other": 1}
    assert [o.is_cached for o in outcomes.values()] == [False, True, False, True]
    assert [o.analysis.usage.requests for o in outcomes.values()] == [1, 0, 1, 0]
    assert stream.spent.requests == 2


def test_other_candidates_are_another_question(stream):
    stream.submit(playing(0, "same"), (0,))
    stream.submit(playing(1, "same"), ())
    stream.collect()
    assert stream.analyst.asked == {"same": 2}


def test_what_is_late_is_dropped_now_and_there_the_next_time(stream):
    stream.analyst.gate.clear()
    submit(stream, *(playing(n) for n in range(6)))
    began = time.monotonic()
    outcomes = stream.collect(deadline_s=0.3)
    assert 0.3 <= time.monotonic() - began < NO_WAIT_S
    assert Counter(o.analysis.failure for o in outcomes.values()) == {"late": 6}
    assert stream.newly_spent() == Usage()
    stream.analyst.gate.set()
    eventually(lambda: stream.spent.requests == 4)
    submit(stream, *(playing(n) for n in range(6)))
    outcomes = stream.collect()
    assert [o.is_cached for o in outcomes.values()] == [True] * 4 + [False] * 2
    assert stream.analyst.asked == {f"goal {n}": 1 for n in range(6)}
    assert stream.newly_spent().requests == 6


def test_one_that_is_still_out_from_last_time_is_joined(stream):
    stream.analyst.gate.clear()
    submit(stream, playing(0))
    assert stream.collect(deadline_s=0.0)["task#0"].analysis.failure == "late"
    submit(stream, playing(0))
    stream.analyst.gate.set()
    (outcome,) = stream.collect().values()
    assert outcome.analysis.skills and outcome.is_cached
    assert stream.analyst.asked == {"goal 0": 1}


def test_what_was_not_begun_by_the_deadline_is_never_asked(stream):
    stream.analyst.gate.clear()
    submit(stream, *(playing(n) for n in range(50)))
    for _ in range(4):
        assert stream.analyst.begun.acquire(timeout=20)
    assert len(stream.collect(deadline_s=0.05)) == 50
    stream.analyst.gate.set()
    eventually(lambda: stream.spent.requests == 4)
    assert stream.analyst.asked.total() == 4


@pytest.mark.parametrize("error", [AnalystUnavailableError("wrong key"), KeyError("a bug")])
def test_what_the_analyst_raises_is_raised_at_once_and_the_rest_is_not_asked(path, error):
    analyst = Analyst(answers={"goal 0": error})
    stream = AnalysisStream(analyst, AnalysisCache(path), max_workers=1)
    analyst.gate.clear()
    submit(stream, *(playing(n) for n in range(50)))
    threading.Timer(0.1, analyst.gate.set).start()
    began = time.monotonic()
    with pytest.raises(type(error)) as raised:
        stream.collect(deadline_s=30)
    assert raised.value is error
    assert time.monotonic() - began < 10
    with pytest.raises(type(error)):
        submit(stream, playing(60))
    assert analyst.asked == {"goal 0": 1}
    stream.close()


def test_an_error_in_the_background_is_raised_by_the_next_submit(path):
    analyst = Analyst(answers={"goal 0": AnalystUnavailableError("wrong key")})
    stream = AnalysisStream(analyst, AnalysisCache(path), max_workers=1)
    analyst.gate.clear()
    submit(stream, playing(0))
    stream.collect(deadline_s=0)
    analyst.gate.set()
    eventually(lambda: not stream._pending)
    with pytest.raises(AnalystUnavailableError, match="wrong key"):
        submit(stream, playing(1))
    stream.close()


def test_a_failure_is_an_outcome(path):
    failed = Analysis(None, "not_json", usage=PAID)
    lost = Analysis(None, "timeout", usage=Usage(requests=1))
    analyst = Analyst({"goal 0": failed, "goal 1": lost})
    stream = AnalysisStream(analyst, AnalysisCache(path))
    for _ in range(2):
        submit(stream, playing(0), playing(1), playing(2))
        outcomes = stream.collect()
        assert [o.analysis.failure for o in outcomes.values()] == ["not_json", "timeout", ""]
    # Only what was lost on its way is worth another try.
    assert analyst.asked == {"goal 0": 1, "goal 1": 2, "goal 2": 1}
    stream.close()


def test_the_budget_ends_requests_and_not_what_is_known(path):
    with_first = AnalysisCache(path)
    with_first.put(Question(playing(0), (0,), "a"), Analysis(Skills("k", {}), usage=PAID), "run")
    analyst = Analyst()
    stream = AnalysisStream(analyst, with_first, "run", 1, Budget(cost=1.5))
    submit(stream, *(playing(n) for n in range(6)))
    outcomes = list(stream.collect().values())
    # Half a unit was spent before this process began.
    assert [o.analysis.failure for o in outcomes] == ["", "", "", "budget", "budget", "budget"]
    assert outcomes[3].analysis.detail == "1.5 of a budget of 1.5 are spent"
    assert analyst.asked.total() == 2
    assert stream.spent.cost == 1.5
    stream.close()


def test_a_budget_of_tokens():
    assert Budget(tokens=120).exceeded_by(PAID) == "120 of at most 120 tokens are spent"
    assert not Budget(tokens=121).exceeded_by(PAID)
    assert not Budget().exceeded_by(PAID)
    with pytest.raises(ValueError, match=r"max_tokens_spent is 0; expected more than 0"):
        Budget(tokens=0)


def test_the_caller_advances_what_the_analyst_waits_for(stream):
    stream.analyst.gate.clear()
    turns = []

    def advance():
        turns.append(threading.current_thread())
        if len(turns) == 5:
            stream.analyst.gate.set()

    submit(stream, playing(0))
    assert stream.collect(30, advance)["task#0"].analysis.skills
    assert len(turns) >= 5 and set(turns) == {threading.main_thread()}


def test_a_deadline_ends_advancing_too(stream):
    stream.analyst.gate.clear()
    submit(stream, playing(0))
    began = time.monotonic()
    assert stream.collect(0.2, lambda: None)["task#0"].analysis.failure == "late"
    assert 0.2 <= time.monotonic() - began < NO_WAIT_S


def test_closing_does_not_wait_and_what_is_out_still_lands(path):
    analyst = Analyst()
    stream = AnalysisStream(analyst, AnalysisCache(path), "run", max_workers=2)
    analyst.gate.clear()
    submit(stream, *(playing(n) for n in range(5)))
    for _ in range(2):
        assert analyst.begun.acquire(timeout=20)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < NO_WAIT_S
    analyst.gate.set()
    eventually(lambda: not any(t.name.startswith("analyst") for t in threading.enumerate()))
    cache = AnalysisCache(path)
    assert cache.spent("run").requests == 2
    cache.close()
    assert [file.name for file in path.parent.iterdir()] == ["analyses.sqlite"]


def test_a_failure_that_closing_brought_about_is_paid_for_and_not_kept(path):
    analyst = Analyst({"goal 0": Analysis(None, "stopped", usage=PAID)})
    stream = AnalysisStream(analyst, AnalysisCache(path), "run")
    analyst.gate.clear()
    submit(stream, playing(0))
    assert analyst.begun.acquire(timeout=20)
    stream.close()
    analyst.gate.set()
    eventually(lambda: not stream._pending)
    cache = AnalysisCache(path)
    assert cache.spent("run") == PAID
    assert cache.get(Question(playing(0), (0,), "a").key) is None
    cache.close()


HANGING = """
import sys, time
from opid_lightning.hindsight.cache import AnalysisCache
from opid_lightning.hindsight.stream import AnalysisStream
from tests.hindsight.test_stream import Analyst, playing

class Hanging(Analyst):
    def __call__(self, trajectory, candidates):
        time.sleep(3600)

stream = AnalysisStream(Hanging(), AnalysisCache(sys.argv[1]))
stream.submit(playing(0), (0,))
print(stream.collect(0.1)["task#0"].analysis.failure)
stream.close()
"""


def test_a_process_ends_while_requests_hang(path):
    result = subprocess.run(
        [sys.executable, "-c", HANGING, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert result.stdout == "late\n"


def test_many_threads_lose_nothing(path):
    """Ten rounds with a deadline that cuts somewhere in the middle."""
    analyst = Analyst()
    stream = AnalysisStream(analyst, AnalysisCache(path), "run", max_workers=16)
    answered = Counter()
    for number in range(10):
        played = [playing(n, f"{number} {n % 150}") for n in range(200)]
        submit(stream, *played)
        outcomes = stream.collect(deadline_s=0.02)
        assert set(outcomes) == {trajectory.id for trajectory in played}
        assert all(o.analysis.failure in ("", "late") for o in outcomes.values())
        answered.update(o.analysis.usage.requests for o in outcomes.values())
    eventually(lambda: not stream._pending)
    assert set(analyst.asked.values()) == {1}
    assert stream.spent.requests == analyst.asked.total() >= answered[1]
    stream.close()
