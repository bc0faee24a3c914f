"""What every sampler asks of a request: that it fits, what it must follow, and what ends it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.protocols import RequestTooLongError
from opid_lightning.types import SampleRequest


def check_positions(request: SampleRequest, given: int | None, owner: str = "the model") -> None:
    """Raises RequestTooLongError where prompt and longest response need more than is given."""
    needed = len(request.prompt_ids) + request.max_tokens
    if given is not None and needed > given:
        raise RequestTooLongError(
            f"request {request.id!r} may need {needed} positions ({len(request.prompt_ids)} of "
            f"its prompt, {request.max_tokens} of its response), but {owner} has {given}: "
            "lower rollout.max_prompt_tokens or rollout.max_response_tokens",
            needed,
            given,
        )


Decode = Callable[[Sequence[int]], str]


def stopped_at(token_ids: Sequence[int], stop: Sequence[str], decode: Decode) -> int | None:
    """How many tokens there are once the first of the texts is complete; None while none is.

    a b </ answer > c      with </answer>: 5
    """

    def is_complete(count: int) -> bool:
        return any(text in decode(token_ids[:count]) for text in stop)

    if not stop or not is_complete(len(token_ids)):
        return None
    return bisect_left(range(len(token_ids)), True, key=is_complete)


def has_just_stopped(token_ids: Sequence[int], stop: Sequence[str], decode: Decode) -> bool:
    """Whether a text ends among the last tokens: what is asked after each of them."""
    if not stop:
        return False
    # A token may be part of a character; with this many no text is longer.
    window = 4 * max(map(len, stop))
    return any(text in decode(token_ids[-window:]) for text in stop)


def said(vocabulary: Vocabulary, request: SampleRequest, token_ids: Sequence[int]) -> str:
    """The text of a completion, with a tag that the template has opened for it.

    What must follow a schema says nothing else.
    """
    opened = "" if request.schema else vocabulary.opened(request.prompt_ids)
    return opened + vocabulary.text(token_ids)


def check_is_free(request: SampleRequest, sampler: str) -> None:
    """For samplers that let the model say anything: ValueError where a schema is asked for."""
    if request.schema:
        raise ValueError(
            f"request {request.id!r} has to follow a JSON schema, which sampler={sampler} cannot "
            "hold the policy to: set sampler=vllm or sampler=vllm_server"
        )
