"""What is told when an endpoint cannot be used, and which setting or variable fixes it."""

from __future__ import annotations

import os

from opid_lightning.hindsight.chat.endpoint import Endpoint
from opid_lightning.hindsight.chat.endpoint_faults import Fault
from opid_lightning.protocols import AnalystUnavailableError

ELSEWHERE = "analyst.base_url to where chat completions are served (it often ends in /v1)"
REMEDIES = {
    "unauthorized": "Set {variable} to a key that may use {model} there.",
    "no_credit": "Give the account of the key in {variable} credit, or set another key.",
    "unknown_model": "Set analyst.model to one that it serves, or {elsewhere}.",
    "connection_refused": "Start the server, or set {elsewhere}.",
    "unresolved_host": "Set {elsewhere}.",
    "tls_refused": "Set analyst.base_url to a server with a valid certificate, or to http://...",
    "bad_request": "Change what it objects to: analyst.structured, analyst.temperature, "
    "analyst.max_tokens, analyst.extra_body.",
    "bad_response": "Set {elsewhere}.",
    "timeout": "Try again once it answers, or raise analyst.timeout_s.",
}
OTHERWISE = "Try again once it has recovered, or raise analyst.retries."


def unavailable(model: str, endpoint: Endpoint, fault: Fault) -> AnalystUnavailableError:
    """The error that names model, endpoint and fault, and the setting that fixes it."""
    variable = endpoint.key_variable
    held = "is set" if os.environ.get(variable) else "is not set"
    remedy = REMEDIES.get(fault.failure, OTHERWISE)
    remedy = remedy.format(variable=variable, model=model, elsewhere=ELSEWHERE)
    return AnalystUnavailableError(
        f"The analyst {model} at {endpoint.address.place} cannot work: {fault.failure}, "
        f"{fault.detail} ({variable} {held}). {remedy}"
    )
