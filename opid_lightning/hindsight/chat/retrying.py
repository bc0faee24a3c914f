"""Retrying: asks again what failed for a passing reason."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opid_lightning.files.omissions import warn_once
from opid_lightning.hindsight.chat.chat_reply import ChatReply
from opid_lightning.hindsight.chat.endpoint import Connection
from opid_lightning.hindsight.chat.endpoint_faults import Fault
from opid_lightning.types import Usage

log = logging.getLogger(__name__)
JITTER = random.Random()  # of its own, so that the run's random numbers stay the same
UNREACHABLE = ("connection_refused", "unresolved_host")


@dataclass(frozen=True)
class Outcome:
    """What came of a request and of its repetitions."""

    answer: ChatReply | Fault
    num_retries: int

    def usage(self, input_price: float, output_price: float, is_repair: bool) -> Usage:
        """Of all tries, at prices of a million tokens. Only a reply tells how many it took."""
        num_in = num_out = 0
        if isinstance(self.answer, ChatReply):
            num_in, num_out = self.answer.prompt_tokens, self.answer.completion_tokens
        return Usage(
            requests=1 + self.num_retries,
            retries=self.num_retries,
            repairs=int(is_repair),
            prompt_tokens=num_in,
            completion_tokens=num_out,
            cost=(num_in * input_price + num_out * output_price) / 1e6,
        )


@dataclass(frozen=True)
class Retrying:
    """Waits a random time between 0 and a limit that doubles: exponential backoff, full jitter.

    A wait that the server asks for is kept, and up to `backoff_s` more, so that not all come back
    at once. Where the next try would come after the deadline there is none.

    A refusal (`stop_run`) of an endpoint that has never answered is final. One that has answered
    may do so again, so it is asked again; see `lasting` for a refusal that stays.
    """

    timeout_s: float  # of one request
    retries: int
    backoff_s: float
    max_backoff_s: float

    def __call__(
        self, connection: Connection, request: Mapping[str, Any], deadline: float
    ) -> Outcome:
        """`deadline` is on the monotonic clock."""
        num_before = connection.num_answers
        for num_retries in itertools.count():
            timeout_s = min(self.timeout_s, deadline - time.monotonic())
            answer = connection.complete(request, timeout_s)
            if isinstance(answer, ChatReply) or not may_pass(answer, connection):
                break
            delay_s = self.delay_s(num_retries, answer.retry_after_s)
            if num_retries == self.retries or time.monotonic() + delay_s >= deadline:
                answer = lasting(answer, connection.num_answers - num_before)
                break
            connection.pause(delay_s)
        return Outcome(answer, num_retries)

    def delay_s(self, num_retries: int, retry_after_s: float | None) -> float:
        """Seconds before the next try: those asked for, or exponential backoff with jitter."""
        if retry_after_s is not None:
            return retry_after_s + JITTER.uniform(0.0, self.backoff_s)
        limit = min(self.max_backoff_s, self.backoff_s * 2.0**num_retries)
        return JITTER.uniform(0.0, limit)


def may_pass(fault: Fault, connection: Connection) -> bool:
    """Whether another try may succeed."""
    if fault.remedy == "retry":
        return True
    is_new = fault.remedy == "stop_run" or fault.failure == "bad_response"
    if is_new and connection.num_answers:
        warn_once(log, f"The analyst, which has answered before: {fault.failure}. Asking again.")
        return True
    return False


def lasting(fault: Fault, num_answers: int) -> Fault:
    """What follows from a fault that stayed; `num_answers` others were answered meanwhile.

    A server that cannot be reached may be restarting, and one that answers others works: both
    cost this trajectory alone. A refused key or model is refused for all of them.
    """
    if fault.failure in UNREACHABLE or num_answers:
        return replace(fault, remedy="give_up")
    return fault
