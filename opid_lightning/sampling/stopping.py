"""Texts that end a response, as `</answer>` may, and the text that it comes to.

The token that completes a text that ends a response is its last.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from opid_lightning.lm.vocabulary import Vocabulary
from opid_lightning.types import SampleRequest

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
