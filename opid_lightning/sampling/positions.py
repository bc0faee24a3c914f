"""Whether a request fits the model, before anything is computed."""

from __future__ import annotations

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
