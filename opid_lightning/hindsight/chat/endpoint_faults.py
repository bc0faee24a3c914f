"""What can go wrong between an analyst and its endpoint, and what follows from it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opid_lightning.hindsight.chat.retry_after import seconds_of

if TYPE_CHECKING:
    import openai

# Another try may do, this trajectory goes without, or no trajectory would fare better.
Remedy = Literal["retry", "give_up", "stop_run"]

STATUS_FAULTS: dict[int, tuple[str, Remedy]] = {
    401: ("unauthorized", "stop_run"),
    402: ("no_credit", "stop_run"),
    403: ("unauthorized", "stop_run"),
    404: ("unknown_model", "stop_run"),
    408: ("timeout", "retry"),
    413: ("context_too_long", "give_up"),
    429: ("rate_limited", "retry"),
}
NO_CREDIT = re.compile(r"insufficient_quota|exceeded your current quota", re.I)
# Servers have no common word for it.
TOO_LONG = re.compile(r"context.?(length|size|window)|max_model_len|prompt is too long", re.I)


@dataclass(frozen=True)
class Fault:
    """A request that failed: its name, what was said, and what to do about it."""

    failure: str  # a short name, which is counted
    detail: str  # as it came: it may name the key, and may be long
    remedy: Remedy
    retry_after_s: float | None = None  # where the server asked for it
    status: int | None = None


def fault_of(error: Exception) -> Fault:
    """Of whatever the client of the endpoint raised."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return status_fault(error)
    if isinstance(error, TimeoutError):
        return Fault("timeout", "no whole answer in time", "retry")
    causes = list(causes_of(error))
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return Fault("connection_refused", describe_error(cause), "stop_run")
        if isinstance(cause, socket.gaierror):
            is_passing = cause.errno == socket.EAI_AGAIN
            failure = "connection_lost" if is_passing else "unresolved_host"
            return Fault(failure, describe_error(cause), "retry" if is_passing else "stop_run")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return Fault("tls_refused", describe_error(cause), "stop_run")
    return Fault("connection_lost", describe_error(causes[-1]), "retry")


def status_fault(error: openai.APIStatusError) -> Fault:
    """The fault behind an HTTP status, Retry-After included."""
    failure, remedy = name_status(error.status_code, f"{error.code} {error.message}")
    return Fault(
        failure,
        detail=f"status {error.status_code}: {error.message}",
        remedy=remedy,
        retry_after_s=seconds_of(error.response.headers),
        status=error.status_code,
    )


def name_status(status: int, said: str) -> tuple[str, Remedy]:
    """The name and the remedy of an HTTP status, by the message where the status is ambiguous."""
    if status == 429 and NO_CREDIT.search(said):
        return "no_credit", "stop_run"
    if status in STATUS_FAULTS:
        return STATUS_FAULTS[status]
    if status >= 500:
        return "server_error", "retry"
    return ("context_too_long" if TOO_LONG.search(said) else "bad_request"), "give_up"


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it. Each address of a host that failed is a cause of its own."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from causes_of(part)
        error = error.__cause__ or error.__context__


def describe_error(error: BaseException) -> str:
    """The error's message, or its class where it has none."""
    return str(error) or type(error).__name__
