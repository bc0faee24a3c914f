import threading

import pytest

from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.protocols import AnalystUnavailableError
from tests.builders import step_of, trajectory_of
from tests.hindsight.analyst_behaviours import Answer
from tests.hindsight.analyst_server import AnalystServer

TRAJECTORY = trajectory_of(step_of(0, "look"))


def analyst_of(url, **settings):
    quick = {"backoff_s": 0.001, "max_backoff_s": 0.002, "retries": 2, "timeout_s": 20.0}
    return OpenAI("glm", url, **{**quick, **settings})


def refusal(url, **settings):
    with pytest.raises(AnalystUnavailableError) as error:
        analyst_of(url, **settings).start()
    assert "analyst endpoint" not in [thread.name for thread in threading.enumerate()]
    return str(error.value)


def test_a_server_is_asked_for_a_word_as_it_will_be_asked():
    with AnalystServer("good") as server:
        analyst = analyst_of(server.url, temperature=0.7, extra_body={"top_k": 5})
        analyst.start()
        analyst.close()
    (request,) = server.requests
    assert request.is_probe
    body = request.body
    assert (body["model"], body["temperature"], body["top_k"]) == ("glm", 0.7, 5)
    assert body["max_tokens"] <= 16
    assert "response_format" in body


def test_a_probe_needs_no_word_in_return():
    with AnalystServer("good", probe="empty") as server:
        analyst = analyst_of(server.url)
        analyst.start()
        analyst.close()


@pytest.mark.parametrize("structured", ["auto", "off"])
def test_a_server_without_schemas_goes_by_the_prompt_alone(structured, caplog):
    with AnalystServer("lacks_schemas", probe="lacks_schemas") as server:
        analyst = analyst_of(server.url, structured=structured)
        analyst.start()
        analysis = analyst(TRAJECTORY, [0])
        analyst.close()
    assert (analysis.failure, analysis.usage.requests) == ("", 1)
    assert server.num_probes == (2 if structured == "auto" else 1)
    assert ("takes no JSON schema" in caplog.text) == (structured == "auto")
    assert analyst.identity == analyst_of(server.url, structured=structured).identity


def test_a_server_without_schemas_is_refused_where_they_have_to_be_sent():
    with AnalystServer("good", probe="lacks_schemas") as server:
        message = refusal(server.url, structured="on")
    assert "json_schema is not supported" in message and "analyst.structured" in message
    assert server.num_probes == 1


@pytest.mark.parametrize(
    ("probe", "got", "mend", "num_probes"),
    [
        ("refused_key", "status 401", "OPENAI_API_KEY is not set", 1),
        ("forbidden", "status 403", "Set OPENAI_API_KEY", 1),
        ("unknown_model", "status 404", "analyst.model", 1),
        ("bad_request", "No such setting", "analyst.extra_body", 2),  # without a schema as well
        ("garbage", "no chat completion but '\\x00", "analyst.base_url", 1),
        ("rate_limited", "status 429", "recovered", 3),
        ("unavailable", "status 503", "recovered", 3),
        ("cut", "connection_lost", "recovered", 3),
        ("hanging", "timeout", "analyst.timeout_s", 3),
    ],
)
def test_what_is_wrong_is_told_with_what_mends_it(monkeypatch, probe, got, mend, num_probes):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with AnalystServer("good", probe=probe) as server:
        message = refusal(server.url, timeout_s=0.3 if probe == "hanging" else 20)
    assert got in message and mend in message and f"glm at {server.url}" in message
    assert server.num_probes == num_probes


def test_a_server_that_recovers_in_time_is_good_enough():
    with AnalystServer(
        "good", probe=lambda request: "unavailable" if request.number < 2 else "good"
    ) as server:
        analyst = analyst_of(server.url)
        analyst.start()
        analyst.close()
    assert server.num_probes == 3


def test_addresses_where_nothing_is_are_told():
    with AnalystServer("good") as server:
        over_tls = refusal(server.url.replace("http:", "https:"))
    nobody = refusal(server.url)
    nowhere = refusal("http://nowhere.invalid/v1")
    assert "tls_refused" in over_tls and "http://..." in over_tls
    assert "connection_refused" in nobody and "Start the server" in nobody
    assert "nowhere.invalid" in nowhere


def test_a_page_that_is_no_endpoint_is_told():
    with AnalystServer("good", probe=Answer(b"<html>Welcome</html>")) as server:
        message = refusal(server.url)
    assert "<html>Welcome" in message and "/v1" in message


def test_a_missing_key_is_told_at_once_with_the_variable_to_set(monkeypatch):
    monkeypatch.delenv("ANALYST_KEY", raising=False)
    with pytest.raises(AnalystUnavailableError, match="variable ANALYST_KEY, or set base_url"):
        OpenAI("glm", key_variable="ANALYST_KEY")


def test_a_key_that_went_missing_since_is_told_at_start(monkeypatch):
    monkeypatch.setenv("ANALYST_KEY", "sk-secret")
    analyst = OpenAI("glm", key_variable="ANALYST_KEY")
    monkeypatch.delenv("ANALYST_KEY")
    with pytest.raises(AnalystUnavailableError, match="variable ANALYST_KEY"):
        analyst.start()
