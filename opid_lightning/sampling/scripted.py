"""Sampling from a script: for demonstrations and tests, without a model's say."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from opid_lightning.lm.policy import stop_ids
from opid_lightning.protocols import Generation
from opid_lightning.sampling.requests import check_is_free
from opid_lightning.types import Completion, Policy, SampleRequest


@dataclass(frozen=True)
class Scripted:
    """Answers with the given replies in turn, or with what `reply_to` makes of the prompt.

    Log-probs are reported as 0: a script is certain of what it says.
    """

    replies: list[str] = field(default_factory=list)  # what it answers, in turn
    reply_to: Callable[[str], str] | None = None  # makes the reply from the decoded prompt

    def __post_init__(self) -> None:
        if bool(self.replies) == (self.reply_to is not None):
            raise ValueError(
                f"sampler.replies holds {len(self.replies)} replies and sampler.reply_to is "
                f"{self.reply_to}: give one of the two"
            )

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        """Serves the script; the policy gives its tokenizer, and log-probs where asked."""
        yield _Script(self, policy, stop_ids(policy)[0])


@dataclass
class _Script:
    script: Scripted
    policy: Policy
    stop_id: int
    waiting: deque[Completion] = field(default_factory=deque)
    num_answered: int = 0
    weight_version: int = 0

    @property
    def metrics(self) -> Mapping[str, float]:
        return {}

    def submit(self, request: SampleRequest) -> None:
        check_is_free(request, "scripted")
        tokenizer = self.policy.tokenizer
        reply = self._reply(request)
        ids = [*tokenizer.encode(reply, add_special_tokens=False), self.stop_id]
        is_cut = len(ids) > request.max_tokens
        ids = ids[: request.max_tokens]
        # A reply that is whole stays as written, though the tokenizer may not know its words.
        text = tokenizer.decode(ids, skip_special_tokens=True) if is_cut else reply
        logprobs = (0.0,) * len(ids)
        self.waiting.append(Completion(request.id, tuple(ids), logprobs, text, is_cut))
        self.num_answered += 1

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        """One at a time, so that episodes move on at different paces, as with an engine."""
        assert self.waiting, "nothing was submitted, so there is nothing to wait for"
        return [self.waiting.popleft()]

    def _reply(self, request: SampleRequest) -> str:
        if self.script.reply_to is not None:
            return self.script.reply_to(self.policy.tokenizer.decode(request.prompt_ids))
        return self.script.replies[self.num_answered % len(self.script.replies)]
