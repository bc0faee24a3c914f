"""Repair: asks a model to repair a reply that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from opid_lightning.hindsight.chat.chat_reply import ChatReply
from opid_lightning.hindsight.chat.completion_request import Message
from opid_lightning.hindsight.chat.endpoint_faults import Fault
from opid_lightning.types import Analysis

MAX_REPAIRED_CHARACTERS = 16_000  # a longer reply would be paid for twice
REPAIR_VERSION = 1  # goes up with every change of the request
REQUEST = """\
Your reply cannot be used ({reason}): {detail}
Reply again, complete and in the form that was asked for: one JSON object and nothing else. \
Keep it short."""


def repair_messages(
    question: Sequence[Message], answer: ChatReply | Fault, analysis: Analysis
) -> list[Message] | None:
    """What to ask next; none where the analysis has no failure that asking again could repair.

    After an empty reply that is the same again: many servers refuse empty messages.
    """
    if isinstance(answer, Fault) or answer.is_refused or not analysis.failure:
        return None
    reply = answer.content or ""
    if not reply.strip():
        return list(question)
    if len(reply) > MAX_REPAIRED_CHARACTERS:
        return None
    request = REQUEST.format(reason=analysis.failure, detail=analysis.detail)
    return [
        *question,
        {"role": "assistant", "content": reply},
        {"role": "user", "content": request},
    ]
