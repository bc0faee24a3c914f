"""OpenAI: a language model behind an OpenAI-compatible endpoint as analyst."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from opid_lightning.skills.analysis_prompt import analysis_messages, reply_schema
from opid_lightning.skills.chat_reply import ChatReply
from opid_lightning.skills.endpoint import Endpoint
from opid_lightning.skills.endpoint_faults import Fault
from opid_lightning.skills.endpoint_key import OPENAI_URL, Address, read_secrets
from opid_lightning.skills.openai_checks import check_extra_body, check_settings
from opid_lightning.skills.parsing import AnalysisError, keep_valid, parse_reply
from opid_lightning.skills.repair import repair_messages
from opid_lightning.skills.retrying import Outcome, Retrying
from opid_lightning.skills.unavailable import unavailable
from opid_lightning.types import Analysis, Trajectory, Usage

log = logging.getLogger(__name__)

PROBE = [{"role": "user", "content": "Reply with one word."}]
PROBE_TOKENS = 16
REFUSED_SCHEMA = (400, 422)


@dataclass(frozen=True)
class OpenAI:
    """Asks for a chat completion about each trajectory, and reads the reply.

    Passing errors are retried, an unusable reply may be repaired, all within
    `analysis_timeout_s`; then the analysis has a failure. What no trajectory would survive (a
    wrong key or model, no server) raises AnalystUnavailableError at once.

    The key is read from the environment, and is in no message, log or identity.
    """

    model: str
    base_url: str | None = field(default=None, repr=False)  # None: OpenAI's own
    temperature: float = 0.4  # paper
    max_tokens: int = 2048
    timeout_s: float = 60.0  # of one request, from its first byte to the reply's last
    max_step_skills: int = 5
    gamma: float = 0.95
    key_variable: str = "OPENAI_API_KEY"
    structured: Literal["auto", "on", "off"] = "auto"  # auto: where the server takes a JSON schema
    repairs: int = 1  # times an unusable reply is sent back with what is wrong with it
    retries: int = 4  # of each request
    backoff_s: float = 1.0  # the longest first wait before a retry; it doubles each time
    max_backoff_s: float = 30.0
    analysis_timeout_s: float = 180.0  # of one analysis with its retries and repairs
    input_price: float = 0.0  # of a million tokens
    output_price: float = 0.0
    extra_body: Mapping[str, Any] | None = None  # the server's own settings of sampling
    endpoint: Endpoint = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_settings(self)
        check_extra_body(self.extra_body)
        address = Address(self.base_url or OPENAI_URL)
        read_secrets(address, self.key_variable)
        object.__setattr__(self, "endpoint", Endpoint(address, self.key_variable))

    @property
    def identity(self) -> str:
        names = ("model", "temperature", "max_tokens", "max_step_skills", "gamma", "structured")
        settings = {name: getattr(self, name) for name in (*names, "repairs", "extra_body")}
        place = self.endpoint.address.place
        return json.dumps({"analyst": "OpenAI", "base_url": place, **settings}, sort_keys=True)

    def start(self) -> None:
        """Asks for a word, with a JSON schema if one is to be sent."""
        has_schema = self.structured != "off"
        answer = self._probe(has_schema)
        refused = answer if isinstance(answer, Fault) and answer.status in REFUSED_SCHEMA else None
        if refused and self.structured == "auto":
            has_schema, answer = False, self._probe(has_schema=False)
        if isinstance(answer, Fault):
            self.close()
            raise unavailable(self.model, self.endpoint, answer)
        if refused:
            log.warning(
                "%s takes no JSON schema (%s). The analyst goes by its prompt alone.",
                self.endpoint.address.place,
                refused.detail,
            )
        self.endpoint.takes_schemas = has_schema

    def close(self) -> None:
        self.endpoint.close()

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        deadline = time.monotonic() + self.analysis_timeout_s
        schema = reply_schema(len(trajectory.steps), self.max_step_skills)
        question = analysis_messages(trajectory, self.max_step_skills, self.gamma)
        messages: list[dict[str, str]] | None = question
        usage, num_repairs = Usage(), 0
        while True:
            outcome = self._ask(self._request(messages, schema), deadline)
            usage += self._usage(outcome, is_repair=num_repairs > 0)
            reply = outcome.answer
            if isinstance(reply, Fault):
                return self._failed(reply, usage)
            if reply.is_refused:
                return Analysis(None, "refused", "the model, or a filter, declined", usage)
            try:
                kept = keep_valid(parse_reply(reply.content), candidates, self.max_step_skills)
            except AnalysisError as error:
                failed = Analysis(None, error.reason, error.detail, usage)
                messages = repair_messages(question, reply.content or "", error)
            else:
                return Analysis(kept.skills, detail=kept.detail, usage=usage)
            if messages is None or num_repairs == self.repairs or time.monotonic() >= deadline:
                return failed
            num_repairs += 1
