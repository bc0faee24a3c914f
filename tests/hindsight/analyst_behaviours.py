"""What a server of chat completions can do with a request: behaviours by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CALM = "Look before you act."


@dataclass(frozen=True)
class Request:
    number: int  # from 0, in order of arrival; probes are counted on their own
    attempt: int  # from 0, among those about the same trajectory
    body: Mapping[str, Any]
    headers: Mapping[str, str]  # names in lower case

    @property
    def messages(self) -> Sequence[Mapping[str, str]]:
        return self.body["messages"]

    @property
    def is_probe(self) -> bool:
        return len(self.messages) < 2

    @property
    def record(self) -> str:
        """The first user message, which holds the trajectory."""
        return next(m["content"] for m in self.messages if m["role"] == "user")

    @property
    def key(self) -> str:
        return key_of(self.record)

    @property
    def candidates(self) -> Sequence[int]:
        """The steps that the record's first line calls candidates."""
        head = json.loads(self.record.splitlines()[0])
        return [int(step) for step in head["candidate_steps"]]


@dataclass(frozen=True)
class Answer:
    """What is sent back, and how."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0  # before the first byte
    drip_s: float = 0.0  # before each byte of the body
    cut_at: int | None = None  # bytes of head and body after which the connection is closed
    is_reset: bool = False  # ... and is not closed but reset
    is_hanging: bool = False  # nothing is ever sent


Behaviour = str | Answer | Callable[[Request], "str | Answer"]


def key_of(record: str) -> str:
    return hashlib.sha256(record.encode()).hexdigest()[:16]


def completion(content: str | None, finish_reason: str = "stop", **message: object) -> Answer:
    """A chat completion of 100 prompt tokens and 20 completion tokens that says this."""
    told = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "finish_reason": finish_reason, "message": told}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    head = {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
    return Answer(json.dumps({**head, "choices": [choice], "usage": usage}).encode())


def error(status: int, code: str | None, message: str, **headers: str) -> Answer:
    told = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Answer(json.dumps(told).encode(), status, headers)


def reply(request: Request) -> str:
    """A good reply, of which one can tell what trajectory it is about."""
    if request.is_probe:
        return "ok"
    step_skills = {str(step): CALM for step in list(request.candidates)[:1]}
    skills = {"episode_summary": request.key, "episode_skill": f"Recall {request.key}."}
    return json.dumps({**skills, "step_skills": step_skills})


def good(request: Request) -> Answer:
    return completion(reply(request))


def refused_key(request: Request) -> Answer:
    """As some servers do: with the key in the message."""
    shown = request.headers.get("authorization", "").removeprefix("Bearer ")
    return error(401, "invalid_api_key", f"Incorrect API key provided: {shown}.")


def slow(request: Request) -> Answer:
    return Answer(good(request).body, delay_s=0.3)


def dripping(request: Request) -> Answer:
    return Answer(good(request).body, drip_s=0.05)


def cut_amid(request: Request) -> Answer:
    return Answer(good(request).body, cut_at=150)


def lacks_schemas(request: Request) -> Answer:
    """A server without structured output: an error where a schema comes along."""
    if "response_format" in request.body:
        return error(400, None, "response_format of type json_schema is not supported")
    return good(request)


ENORMOUS = completion("x" * 10_000_000)

BEHAVIOURS: dict[str, Answer | Callable[[Request], Answer]] = {
    "good": good,
    "slow": slow,
    "hanging": Answer(is_hanging=True),
    "dripping": dripping,
    "refused_key": refused_key,
    "forbidden": error(403, None, "Not allowed to sample from this model"),
    "unknown_model": error(404, "model_not_found", "The model `m` does not exist."),
    "rate_limited": error(429, "rate_limit_exceeded", "Slow down", **{"Retry-After": "0"}),
    "server_error": error(500, None, "Something broke"),
    "unavailable": error(503, None, "Overloaded"),
    "bad_request": error(400, None, "No such setting"),
    "context_too_long": error(
        400, "context_length_exceeded", "This model's maximum context length is 8 tokens."
    ),
    "lacks_schemas": lacks_schemas,
    "cut": Answer(cut_at=0),
    "cut_amid": cut_amid,
    "reset": Answer(cut_at=0, is_reset=True),
    "garbage": Answer(b"\x00\xff<html>what?</html>"),
    "no_completion": Answer(b'{"object": "list", "data": []}'),
    "enormous": ENORMOUS,
    "empty": completion(""),
    "refused": completion(None, refusal="I cannot help with that."),
    "truncated": completion('{"episode_skill": "Look bef', finish_reason="length"),
    "plain_text": completion("It went well, I think."),
    "wrong_schema": completion('{"advice": ["Look before you act."]}'),
    "out_of_range": completion(
        json.dumps({"episode_summary": "s", "episode_skill": "k", "step_skills": {"999": "x"}})
    ),
}
