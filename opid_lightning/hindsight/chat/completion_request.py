"""The request for a chat completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, str]


def completion_request(
    model: str,
    messages: Sequence[Message],
    temperature: float,
    max_tokens: int,
    schema: Mapping[str, Any] | None,
    extra_body: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """As OpenAI's client takes it."""
    request: dict[str, Any] = {
        "model": model,
        "messages": [{**message, "content": encodable(message["content"])} for message in messages],
        "temperature": temperature,
        "max_tokens": max_tokens,
    }
    if schema is not None:
        named = {"name": "hindsight", "schema": schema}
        request["response_format"] = {"type": "json_schema", "json_schema": named}
    if extra_body:
        request["extra_body"] = dict(extra_body)
    return request


def encodable(text: str) -> str:
    """With `?` for half characters, which a model can write and no request can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
