"""What an analyst makes of each way in which an endpoint misbehaves."""

import socket
import ssl
import time

import pytest

from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.hindsight.chat.endpoint_faults import fault_of
from opid_lightning.protocols import AnalystUnavailableError
from opid_lightning.types import Usage
from tests.builders import step_of, trajectory_of
from tests.hindsight.analyst_behaviours import Answer, completion, error, key_of
from tests.hindsight.analyst_server import AnalystServer

TRAJECTORY = trajectory_of(step_of(0, "look"), step_of(1, "go", "B."))
SLACK_S = 10.0  # of a busy machine; without a limit, each would take 20 s and more


def ask(server, **settings):
    """An analysis, and the seconds that it took."""
    quick = {"backoff_s": 0.001, "max_backoff_s": 0.002, "retries": 2}
    analyst = OpenAI("m", server.url, **{**quick, **settings})
    try:
        analyst.endpoint.connection()  # importing the client takes a second
        start = time.monotonic()
        return analyst(TRAJECTORY, [0, 1]), time.monotonic() - start
    finally:
        analyst.close()


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        ("rate_limited", "rate_limited"),
        ("server_error", "server_error"),
        ("unavailable", "server_error"),
        ("cut", "connection_lost"),
        ("cut_amid", "connection_lost"),
        ("reset", "connection_lost"),
        ("hanging", "timeout"),
        ("slow", "timeout"),
        ("dripping", "timeout"),
        (error(408, None, "Too slow"), "timeout"),
    ],
)
def test_what_may_pass_is_retried_and_then_named(behaviour, failure):
    is_endless = failure == "timeout" and isinstance(behaviour, str)
    with AnalystServer(behaviour) as server:
        analysis, _ = ask(server, timeout_s=0.2 if is_endless else 60)
    assert (analysis.skills, analysis.failure) == (None, failure)
    assert analysis.usage == Usage(requests=3, retries=2)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        ("bad_request", "bad_request"),
        ("context_too_long", "context_too_long"),
        (error(413, None, "Too large"), "context_too_long"),
        (error(400, None, "Your input exceeds the max_model_len 9"), "context_too_long"),
        ("garbage", "bad_response"),
        ("no_completion", "bad_response"),
        (Answer(b"[" * 100_000), "bad_response"),
        (Answer(b'{"choices": [{"message": {"content": [1]}}]}'), "bad_response"),
        (Answer(), "bad_response"),
        ("enormous", "too_long"),
    ],
)
def test_what_another_try_would_not_change_is_asked_once(behaviour, failure):
    with AnalystServer(behaviour) as server:
        analysis, _ = ask(server)
    assert (analysis.skills, analysis.failure) == (None, failure)
    assert analysis.usage == Usage(requests=1)
    assert len(server.requests) == 1


def test_of_an_enormous_reply_the_rest_is_not_read():
    with AnalystServer("enormous") as server:
        ask(server)
    assert server.answered[key_of(server.requests[0].record)] == 0


def test_a_good_reply_after_all_is_used_and_every_request_counted():
    with AnalystServer(["rate_limited", "cut", "server_error", "plain_text", "good"]) as server:
        analysis, _ = ask(server, retries=3)
    assert analysis.skills.step_skills == {0: "Look before you act."}
    assert analysis.usage == Usage(
        requests=5, retries=3, repairs=1, prompt_tokens=200, completion_tokens=40
    )


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("refused_key", r"unauthorized, status 401.*Set OPENAI_API_KEY"),
        ("forbidden", r"unauthorized, status 403.*Set OPENAI_API_KEY"),
        ("unknown_model", r"unknown_model, status 404.*analyst\.model"),
        (error(402, None, "Pay first"), r"no_credit, status 402.*credit"),
        (error(429, "insufficient_quota", "Pay first"), r"no_credit, status 429.*credit"),
    ],
)
def test_what_no_trajectory_would_survive_ends_the_run_at_once(behaviour, told):
    with AnalystServer(behaviour) as server, pytest.raises(AnalystUnavailableError, match=told):
        ask(server)
    assert len(server.requests) == 1


def test_a_server_that_is_gone_ends_the_run_at_once():
    with AnalystServer("good") as server:
        pass
    with pytest.raises(AnalystUnavailableError, match="connection_refused"):
        ask(server, retries=100, backoff_s=50, max_backoff_s=50)


def test_no_request_takes_longer_than_its_time():
    with AnalystServer("dripping") as server:  # for 20 s
        analysis, seconds = ask(server, timeout_s=0.5, retries=0)
    assert analysis.failure == "timeout"
    assert 0.5 <= seconds < 0.5 + SLACK_S


def test_an_error_that_drips_takes_no_longer_either():
    answer = error(500, None, "x" * 400)
    with AnalystServer(Answer(answer.body, 500, drip_s=0.05)) as server:
        analysis, seconds = ask(server, timeout_s=0.5, retries=0)
    assert analysis.failure == "timeout"
    assert seconds < 0.5 + SLACK_S


def test_no_analysis_takes_longer_than_its_time():
    with AnalystServer("dripping") as server:
        analysis, seconds = ask(server, timeout_s=0.3, analysis_timeout_s=1.0, retries=1000)
    assert analysis.failure == "timeout"
    assert seconds < 1.0 + SLACK_S
    assert analysis.usage.requests == len(server.requests) >= 2


def test_a_repair_has_what_is_left_of_the_time():
    with AnalystServer([completion("It went well."), "hanging"]) as server:
        analysis, seconds = ask(server, analysis_timeout_s=1.7, retries=0)
    assert (analysis.failure, analysis.usage.repairs) == ("timeout", 1)
    assert seconds < 1.7 + SLACK_S


def raised(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "failure", "remedy"),
    [
        (ConnectionRefusedError(), "connection_refused", "stop_run"),
        (socket.gaierror(socket.EAI_NONAME, "?"), "unresolved_host", "stop_run"),
        (socket.gaierror(socket.EAI_AGAIN, "?"), "connection_lost", "retry"),
        (ssl.SSLCertVerificationError("expired"), "tls_refused", "stop_run"),
        (ssl.SSLEOFError("cut"), "connection_lost", "retry"),
        (OSError("no route to host"), "connection_lost", "retry"),
    ],
)
def test_a_connection_that_fails_is_named_after_its_cause(cause, failure, remedy):
    each = ExceptionGroup("all addresses failed", [OSError("unreachable"), cause])
    for inner in (cause, each):
        fault = fault_of(raised(RuntimeError("Connection error."), raised(OSError("all"), inner)))
        assert (fault.failure, fault.remedy) == (failure, remedy)
