"""An endpoint that has answered, and then refuses for a while."""

import threading
import time

import pytest

from opid_lightning.files.omissions import warn_once
from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.protocols import AnalystUnavailableError
from tests.builders import step_of, trajectory_of
from tests.hindsight.analyst_behaviours import error
from tests.hindsight.analyst_server import AnalystServer

TRAJECTORY = trajectory_of(step_of(0, "look"), step_of(1, "go", "B."))
REFUSALS = [
    "refused_key",
    "forbidden",
    "unknown_model",
    error(402, None, "Pay first"),
    error(429, "insufficient_quota", "Pay first"),
]


def started(server, **settings):
    quick = {"backoff_s": 0.001, "max_backoff_s": 0.002, "retries": 2}
    analyst = OpenAI("m", server.url, **{**quick, **settings})
    analyst.start()
    return analyst


def ask(analyst, number_of_times=1):
    """The last analysis."""
    try:
        for _ in range(number_of_times):
            analysis = analyst(TRAJECTORY, [0, 1])
        return analysis
    finally:
        analyst.close()


@pytest.mark.parametrize("refusal", [*REFUSALS, "garbage", "no_completion"])
def test_a_refusal_once_is_retried_and_counted(refusal):
    with AnalystServer(["good", refusal, "good"]) as server:
        analysis = ask(started(server), number_of_times=2)
    assert (analysis.failure, analysis.usage.requests, analysis.usage.retries) == ("", 2, 1)


def test_the_probe_at_the_start_is_an_answer(caplog):
    warn_once.cache_clear()
    with AnalystServer(["refused_key", "good"]) as server:
        analysis = ask(started(server))
    assert (analysis.failure, analysis.usage.retries) == ("", 1)
    assert "has answered before: unauthorized. Asking again" in caplog.text


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_that_stays_ends_the_run(refusal):
    with AnalystServer(["good", refusal]) as server:
        analyst = started(server)
        with pytest.raises(AnalystUnavailableError, match="cannot work"):
            ask(analyst, number_of_times=2)
    assert len(server.requests) - server.num_probes == 1 + 3


def test_one_of_many_servers_that_refuses_costs_its_trajectories_alone():
    """As behind a balancer: while one trajectory is refused, others are answered."""
    others = trajectory_of(step_of(0, "wait"), goal="another")
    refused: list[str] = []

    def choose(request):
        if "another" in request.record:
            return "good"
        refused.append(request.key)
        time.sleep(0.1)
        return "refused_key"

    with AnalystServer(choose) as server:
        analyst = started(server, retries=3)
        answers = threading.Thread(target=lambda: [analyst(others, [0]) for _ in range(20)])
        answers.start()
        analysis = analyst(TRAJECTORY, [0, 1])
        answers.join()
        analyst.close()
    assert (analysis.skills, analysis.failure) == (None, "unauthorized")
    assert len(refused) == 4


def test_a_server_that_restarts_is_waited_for():
    with AnalystServer("good") as first:
        analyst = started(first, retries=60, backoff_s=0.1, max_backoff_s=0.1)
    second = AnalystServer("good", port=first._port)
    restart = threading.Timer(0.5, second.__enter__)
    restart.start()
    analysis = ask(analyst)
    second.__exit__()
    assert analysis.failure == "" and analysis.usage.retries >= 1


def test_a_server_that_does_not_come_back_is_a_failure_that_is_counted():
    """How many of them a run takes is min_success_share."""
    with AnalystServer("good") as server:
        analyst = started(server)
    analysis = ask(analyst)
    assert (analysis.skills, analysis.failure) == (None, "connection_refused")
    assert analysis.usage.retries == 2
