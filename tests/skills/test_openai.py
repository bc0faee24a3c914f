import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from opid_lightning.skills.analysis_prompt import analysis_messages
from opid_lightning.skills.openai import OpenAI
from opid_lightning.skills.parsing import AnalysisError
from opid_lightning.types import Skills
from tests.builders import step_of, trajectory_of

TRAJECTORY = trajectory_of(step_of(0, "look"), step_of(1, "wait", "B."), step_of(2, "go", "C."))
REPLY = {
    "episode_summary": "s",
    "episode_skill": "k",
    "step_skills": {"7": "x", "2": "a", "0": "b"},
}


class Endpoint:
    """A chat completion server that always says the same, and remembers what it was asked."""

    def __init__(self, content, status=200):
        self.requests, self.keys = [], []
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
        answer = json.dumps({**body, "choices": [choice]}).encode()
        endpoint = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                endpoint.requests.append((self.path, json.loads(self.rfile.read(length))))
                endpoint.keys.append(self.headers["Authorization"])
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def ask(analyst, trajectory=TRAJECTORY):
    try:
        return analyst(trajectory)
    finally:
        analyst._client.close()


def test_one_request_is_sent_and_its_reply_read():
    with Endpoint(json.dumps(REPLY)) as endpoint:
        skills = ask(OpenAI("glm", endpoint.url, temperature=0.7, max_tokens=99))
    assert skills == Skills("k", {2: "a", 0: "b"}, "s")
    ((path, body),) = endpoint.requests
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "glm",
        "messages": analysis_messages(TRAJECTORY, 5, 0.95),
        "temperature": 0.7,
        "max_tokens": 99,
    }


def test_at_most_k_step_skills_are_kept():
    with Endpoint(json.dumps(REPLY)) as endpoint:
        skills = ask(OpenAI("glm", endpoint.url, max_step_skills=1))
    assert skills.step_skills == {2: "a"}
    assert "At most 1 entries" in endpoint.requests[0][1]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        (None, "empty"),
        (json.dumps(REPLY)[:-3], "truncated"),
        ("I am sorry, but I cannot.", "not_json"),
        ('{"skill": "k"}', "missing_field"),
        ('{"episode_skill": " "}', "blank_skill"),
        ("{" * 1_000_000, "too_long"),
    ],
)
def test_an_unusable_reply_is_an_analysis_error(content, reason):
    with Endpoint(content) as endpoint, pytest.raises(AnalysisError) as error:
        ask(OpenAI("glm", endpoint.url))
    assert error.value.reason == reason


def test_a_refused_key_is_no_analysis_error_and_is_asked_once():
    with Endpoint("", status=401) as endpoint, pytest.raises(openai.AuthenticationError):
        ask(OpenAI("glm", endpoint.url))
    assert len(endpoint.requests) == 1


def test_the_key_is_read_from_the_environment_and_shown_nowhere(monkeypatch):
    monkeypatch.setenv("ANALYST_KEY", "sk-secret")
    with Endpoint(json.dumps(REPLY)) as endpoint:
        analyst = OpenAI("glm", endpoint.url, key_variable="ANALYST_KEY")
        ask(analyst)
    assert endpoint.keys == ["Bearer sk-secret"]
    assert "sk-secret" not in repr(analyst) + str(vars(analyst))


def test_a_missing_key_is_told_at_once_with_the_variable_to_set(monkeypatch):
    monkeypatch.delenv("ANALYST_KEY", raising=False)
    with pytest.raises(ValueError, match="variable ANALYST_KEY, or set base_url"):
        OpenAI("glm", key_variable="ANALYST_KEY")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_step_skills", -1),
        ("temperature", -0.1),
        ("max_tokens", 0),
        ("timeout_s", 0),
        ("gamma", 1.1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting, value):
    with pytest.raises(ValueError, match=rf"OpenAI\.{setting} is {value}; expected"):
        OpenAI("glm", "http://127.0.0.1:1", **{setting: value})
