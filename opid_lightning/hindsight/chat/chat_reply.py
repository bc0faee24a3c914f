"""Reading the body of a chat completion."""

from __future__ import annotations

from dataclasses import dataclass

from opid_lightning.files.json_reading import read_json
from opid_lightning.hindsight.chat.endpoint_faults import Fault

MOST_TOKENS = 10**12  # of one answer; more is no count


@dataclass(frozen=True)
class ChatReply:
    """What the model said, and what it took."""

    content: str | None
    is_refused: bool  # by the model, or by the provider's filter
    is_cut: bool  # at the token limit
    prompt_tokens: int  # 0 where the server does not count
    completion_tokens: int


def read_chat_reply(body: bytes) -> ChatReply | Fault:
    """`bad_response` for whatever is no chat completion."""
    try:
        completion = read_json(body)
        choice = completion["choices"][0]
        content, refusal = choice["message"].get("content"), choice["message"].get("refusal")
        reason = choice.get("finish_reason")
        usage = completion.get("usage")
    except (ValueError, LookupError, TypeError, AttributeError):
        return no_completion(body)
    if not isinstance(content, str | None):
        return no_completion(body)
    return ChatReply(
        content=content,
        is_refused=not (content or "").strip() and (bool(refusal) or reason == "content_filter"),
        is_cut=reason == "length",
        prompt_tokens=count(usage, "prompt_tokens"),
        completion_tokens=count(usage, "completion_tokens"),
    )


def count(usage: object, name: str) -> int:
    """A token count of the usage that a server reports; 0 where it is missing or no number."""
    number = usage.get(name) if isinstance(usage, dict) else None
    return number if isinstance(number, int) and 0 < number < MOST_TOKENS else 0


def no_completion(body: bytes) -> Fault:
    """The fault of an answer that is no chat completion, with its body."""
    shown = repr(body.decode("utf-8", "replace"))
    return Fault("bad_response", f"no chat completion but {shown}", "give_up")
