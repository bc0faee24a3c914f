"""Responses that have to follow a JSON schema."""

from __future__ import annotations

from opid_lightning.types import SampleRequest


def check_is_free(request: SampleRequest, sampler: str) -> None:
    """For samplers that let the model say anything: ValueError where a schema is asked for."""
    if request.schema:
        raise ValueError(
            f"request {request.id!r} has to follow a JSON schema, which sampler={sampler} cannot "
            "hold the policy to: set sampler=vllm or sampler=vllm_server"
        )
