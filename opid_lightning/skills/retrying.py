"""Retrying: asks again what failed for a passing reason."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opid_lightning.skills.chat_reply import ChatReply
from opid_lightning.skills.endpoint import Line
from opid_lightning.skills.endpoint_faults import Fault
from opid_lightning.types import Usage

JITTER = random.Random()  # of its own, so that the run's random numbers stay the same


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
    """

    timeout_s: float  # of one request
    retries: int
    backoff_s: float
    max_backoff_s: float

    def __call__(self, line: Line, request: Mapping[str, Any], deadline: float) -> Outcome:
        """`deadline` is on the monotonic clock."""
        num_retries = 0
        while True:
            timeout_s = min(self.timeout_s, deadline - time.monotonic())
            answer = line.complete(request, timeout_s)
            if isinstance(answer, ChatReply) or answer.remedy != "retry":
                return Outcome(answer, num_retries)
            delay_s = self.delay_s(num_retries, answer.retry_after_s)
            if num_retries == self.retries or time.monotonic() + delay_s >= deadline:
                return Outcome(answer, num_retries)
            line.pause(delay_s)
            num_retries += 1

    def delay_s(self, num_retries: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return retry_after_s + JITTER.uniform(0.0, self.backoff_s)
        limit = min(self.max_backoff_s, self.backoff_s * 2.0**num_retries)
        return JITTER.uniform(0.0, limit)
