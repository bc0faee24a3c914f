"""A key is sent, and shown nowhere."""

import base64
import logging
import traceback

import pytest

from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.hindsight.chat.endpoint_key import HIDDEN, Address, Secret
from opid_lightning.protocols import AnalystUnavailableError
from tests.builders import step_of, trajectory_of
from tests.hindsight.analyst_behaviours import Answer, completion, error
from tests.hindsight.analyst_server import AnalystServer

KEY = "sk-" + "0123456789abcdef" * 4
TRAJECTORY = trajectory_of(step_of(0, "look"))


def echo(status, num_before):
    """A server that tells everything it knows, in a message that has to be cut."""

    def behave(request):
        sent = request.headers["authorization"]
        shown = f"{'.' * num_before}{KEY} {sent}"
        if status == 200:
            return completion(shown)
        return error(status, None, shown) if status else Answer(shown.encode())

    return behave


def everything_said(analyst):
    """By an analyst that is started and asked, in values, errors and their traces."""
    said = [repr(analyst), analyst.identity, repr(analyst.endpoint)]
    for work in (analyst.start, lambda: analyst(TRAJECTORY, [0])):
        try:
            said.append(repr(work()))
        except AnalystUnavailableError as error:
            said += traceback.format_exception(error)
    analyst.close()
    return "\n".join(said)


@pytest.mark.parametrize(
    ("status", "num_before"),
    [
        (None, 0),
        (None, 250),
        (200, 0),
        (200, 470),
        (401, 0),
        (401, 240),
        (401, 280),
        (404, 0),
        (400, 260),
        (500, 0),
    ],
)
def test_an_answer_that_repeats_the_secrets_is_told_without_them(
    monkeypatch, caplog, status, num_before
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.DEBUG)
    behaviour = echo(status, num_before)
    with AnalystServer(behaviour, probe=behaviour) as server:
        settings = {"retries": 1, "backoff_s": 0.001, "max_backoff_s": 0.001}
        said = everything_said(OpenAI("m", server.url, **settings))
    sent = {request.headers["authorization"] for request in server.requests}
    assert sent == {f"Bearer {KEY}"}
    assert KEY[:8] not in said + caplog.text
    assert "127.0.0.1" in caplog.text  # the clients did log


@pytest.mark.parametrize("key", ["sk-5ecret\n", "sk 5ecret", "sk-5ecr\u00e9t", "\tsk-5ecret"])
def test_what_cannot_be_a_key_is_refused_unseen(monkeypatch, key):
    monkeypatch.setenv("ANALYST_KEY", key)
    with pytest.raises(AnalystUnavailableError, match="ANALYST_KEY holds") as refusal:
        OpenAI("m", "http://127.0.0.1:1/v1", key_variable="ANALYST_KEY")
    assert "5ecr" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pw@host:8000/v1",
        "ftp://user:pw@host/v1",
        "http://pw@host",
        "http://host?key=pw",
    ],
)
def test_an_address_that_holds_a_secret_is_refused_unseen(url):
    with pytest.raises(ValueError, match="environment variable") as refusal:
        Address(url)
    assert "pw" not in str(refusal.value) and "host" in str(refusal.value)


def test_a_key_is_hidden_however_often_it_comes():
    secret = Secret("k-1")
    assert secret.hide("k-1k-1 k-1") == "****** ***"
    assert Secret("").hide("nothing to hide") == "nothing to hide"
    assert "k-1" not in repr(secret)


@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "Bearer "])
def test_a_key_is_hidden_in_base64_as_well(before):
    code = base64.b64encode(f"{before}{KEY} and more".encode()).decode()
    hidden = Secret(KEY).hide(code)
    assert HIDDEN in hidden and len(hidden) < len(code) - len(KEY)
