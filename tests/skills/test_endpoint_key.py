"""A key is sent, and shown nowhere."""

import base64
import logging
import traceback

import pytest

from opid_lightning.protocols import AnalystUnavailableError
from opid_lightning.skills.endpoint_key import Address, Secrets
from opid_lightning.skills.openai import OpenAI
from tests.builders import step_of, trajectory_of
from tests.skills.analyst_behaviours import Answer, error
from tests.skills.analyst_server import AnalystServer

KEY = "sk-" + "0123456789abcdef" * 4
PASSWORD = "pass/word"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
TRAJECTORY = trajectory_of(step_of(0, "look"))


def echo(status, num_before):
    """A server that tells everything it knows, in a message that has to be cut."""

    def behave(request):
        sent = request.headers["authorization"]
        decoded = f"user:{PASSWORD} {PASSWORD}" if sent.startswith("Basic") else ""
        shown = f"{'.' * num_before}{KEY} {sent} {decoded}"
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
    [(None, 0), (None, 250), (401, 0), (401, 240), (401, 280), (404, 0), (400, 260), (500, 0)],
)
def test_an_answer_that_repeats_the_secrets_is_told_without_them(
    monkeypatch, caplog, status, num_before
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.DEBUG)
    behaviour = echo(status, num_before)
    with AnalystServer(behaviour, probe=behaviour) as server:
        url = server.url.replace("://", "://user:pass%2Fword@")
        settings = {"retries": 1, "backoff_s": 0.001, "max_backoff_s": 0.001}
        said = everything_said(OpenAI("m", url, **settings))
        said += everything_said(OpenAI("m", server.url, **settings))
    sent = {request.headers["authorization"] for request in server.requests}
    assert sent == {f"Basic {BASIC}", f"Bearer {KEY}"}
    heard = said + caplog.text
    for secret in (KEY[:8], BASIC[:8], PASSWORD, "pass%2Fword"):
        assert secret not in heard
    assert "127.0.0.1" in caplog.text  # the clients did log


@pytest.mark.parametrize("key", ["sk-5ecret\n", "sk 5ecret", "sk-5ecr\u00e9t", "\tsk-5ecret"])
def test_what_cannot_be_a_key_is_refused_unseen(monkeypatch, key):
    monkeypatch.setenv("ANALYST_KEY", key)
    with pytest.raises(AnalystUnavailableError, match="ANALYST_KEY holds") as refusal:
        OpenAI("m", "http://127.0.0.1:1/v1", key_variable="ANALYST_KEY")
    assert "5ecr" not in "".join(traceback.format_exception(refusal.value))


def test_an_address_is_shown_without_credentials_even_where_it_is_wrong():
    assert Address("http://user:pw@host:8000/v1").place == "http://host:8000/v1"
    with pytest.raises(ValueError, match="base_url is 'ftp://host/v1'"):
        Address("ftp://user:pw@host/v1")
    with pytest.raises(ValueError, match="without a query") as refusal:
        Address("http://host/v1?key=secret")
    assert "secret" not in str(refusal.value)


def test_secrets_are_hidden_however_often_they_come():
    secrets = Secrets("k-1", "user:pw-2")
    assert secrets.hide("k-1k-1 user:pw-2 pw-2 dXNlcjpwdy0y") == "****** *** *** ***"
    assert Secrets("", "").hide("nothing to hide") == "nothing to hide"
    assert "k-1" not in repr(secrets) and "pw-2" not in repr(secrets)
