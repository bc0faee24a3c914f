"""OpenAI: a language model behind an OpenAI-compatible endpoint as analyst."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from opid_lightning.hindsight.chat.chat_reply import ChatReply
from opid_lightning.hindsight.chat.completion_request import Message, completion_request
from opid_lightning.hindsight.chat.endpoint import Endpoint
from opid_lightning.hindsight.chat.endpoint_faults import Fault
from opid_lightning.hindsight.chat.endpoint_key import OPENAI_URL, Address, read_key
from opid_lightning.hindsight.chat.openai_checks import (
    check_extra_body,
)
from opid_lightning.hindsight.chat.repair import REPAIR_VERSION, repair_messages
from opid_lightning.hindsight.chat.retrying import Retrying
from opid_lightning.hindsight.chat.unavailable import unavailable
from opid_lightning.hindsight.prompt import PROMPT_VERSION, analysis_messages, reply_schema
from opid_lightning.hindsight.reply import AnalysisError, keep_valid, parse_reply
from opid_lightning.types import Analysis, Trajectory, Usage
from opid_lightning.value_checks import LONGEST_S, check_range, check_word

log = logging.getLogger(__name__)

Structured = Literal["auto", "on", "off"]
PROBE = [{"role": "user", "content": "Reply with one word."}]
PROBE_TOKENS = 16
NO_SCHEMAS = (400, 422)  # the statuses with which servers refuse one
# The settings that an analysis depends on; how long to wait for it, and its price, are none.
IDENTIFYING = (
    "model",
    "temperature",
    "max_tokens",
    "max_step_skills",
    "max_characters",
    "max_record_characters",
    "gamma",
    "structured",
    "repairs",
    "extra_body",
)


@dataclass(frozen=True)
class OpenAI:
    """Asks for a chat completion about each trajectory, and reads the reply.

    Passing errors are retried, an unusable reply may be repaired, all within
    `analysis_timeout_s`; then the analysis has a failure. What no trajectory would survive (a
    wrong key or model, no server) raises AnalystUnavailableError at once.

    The key is read from the environment, and is in no message, log or identity.
    """

    model: str  # name of the model
    base_url: str | None = None  # address of the server; null: OpenAI's own
    temperature: float = 0.4  # sampling temperature (paper)
    max_tokens: int = 2048  # longest reply
    timeout_s: float = 60.0  # time limit of a request, until the last byte of the reply
    max_step_skills: int = 5  # step skills of a trajectory at most
    # discount of the returns that the prompt shows; null: advantage.gamma
    gamma: float | None = None
    key_variable: str = "OPENAI_API_KEY"  # environment variable that holds the key
    structured: Structured | bool = "auto"  # send a JSON schema; auto: where the server accepts one
    repairs: int = 1  # times an unusable reply is sent back with its error
    retries: int = 4  # retries of a request
    backoff_s: float = 1.0  # the longest first wait before a retry; it doubles each time
    max_backoff_s: float = 30.0  # longest wait before a retry
    analysis_timeout_s: float = 180.0  # time limit of an analysis, retries and repairs included
    input_price: float = 0.0  # cost of a million prompt tokens
    output_price: float = 0.0  # cost of a million completion tokens
    max_characters: int | None = None  # longest text in a reply, by the JSON schema; null: no limit
    # longer records have old observations cut; null: no limit
    max_record_characters: int | None = None
    # further fields of the request, for the server's own settings
    extra_body: Mapping[str, Any] | None = None
    endpoint: Endpoint = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_range("OpenAI.temperature", self.temperature, at_least=0, at_most=2)
        check_range("OpenAI.gamma", self.gamma, at_least=0, at_most=1, or_null=True)
        if isinstance(self.structured, bool):  # as YAML reads on and off
            object.__setattr__(self, "structured", "on" if self.structured else "off")
        check_word("OpenAI.structured", self.structured, Structured)
        for name in ("max_characters", "max_record_characters"):
            check_range(f"OpenAI.{name}", getattr(self, name), at_least=1, or_null=True)
        check_range("OpenAI.max_tokens", self.max_tokens, at_least=1)
        for name in ("max_step_skills", "repairs", "retries", "input_price", "output_price"):
            check_range(f"OpenAI.{name}", getattr(self, name), at_least=0)
        for name, least in (("backoff_s", 0), ("max_backoff_s", self.backoff_s)):
            check_range(f"OpenAI.{name}", getattr(self, name), at_least=least, at_most=LONGEST_S)
        for name in ("timeout_s", "analysis_timeout_s"):
            check_range(f"OpenAI.{name}", getattr(self, name), above=0, at_most=LONGEST_S)
        check_extra_body(self.extra_body)
        address = Address(self.base_url or OPENAI_URL)
        read_key(address, self.key_variable)
        object.__setattr__(self, "endpoint", Endpoint(address, self.key_variable))

    @property
    def identity(self) -> str:
        """Endpoint, model, sampling settings and versions of the prompts, as JSON; no key."""
        settings = {name: getattr(self, name) for name in IDENTIFYING}
        prompts = {"prompt": PROMPT_VERSION, "repair_prompt": REPAIR_VERSION}
        place = self.endpoint.address.place
        return json.dumps({"base_url": place, **settings, **prompts}, sort_keys=True)

    def start(self) -> None:
        """Asks for a word, with a JSON schema if one is to be sent."""
        self.endpoint.takes_schemas = True
        answer = self._probe()
        if self.structured == "auto" and isinstance(answer, Fault) and answer.status in NO_SCHEMAS:
            log.warning(
                "%s takes no JSON schema (%s); asking by the prompt alone.",
                self.endpoint.address.place,
                answer.detail,
            )
            self.endpoint.takes_schemas = False
            answer = self._probe()
        if isinstance(answer, Fault):
            self.close()
            raise unavailable(self.model, self.endpoint, answer)

    def close(self) -> None:
        """Cancels what is still asked and closes the connections."""
        self.endpoint.close()

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """Asks, retries and repairs within `analysis_timeout_s` seconds.

        Never raises for a bad reply.
        """
        connection = self.endpoint.connection()
        deadline = time.monotonic() + self.analysis_timeout_s
        question = analysis_messages(
            trajectory, candidates, self.max_step_skills, self.gamma, self.max_record_characters
        )
        schema = self._schema(candidates)
        messages, usage = question, Usage()
        for num_repairs in itertools.count():
            request = self._request(messages, self.max_tokens, schema)
            outcome = self._retrying(connection, request, deadline)
            usage += outcome.usage(self.input_price, self.output_price, is_repair=num_repairs > 0)
            analysis = replace(self._read(outcome.answer, candidates), usage=usage)
            is_last = num_repairs == self.repairs or time.monotonic() >= deadline
            repair = None if is_last else repair_messages(question, outcome.answer, analysis)
            if repair is None:
                break
            messages = repair
        return analysis

    def _read(self, answer: ChatReply | Fault, candidates: Sequence[int]) -> Analysis:
        if isinstance(answer, Fault):
            if answer.remedy == "stop_run":
                raise unavailable(self.model, self.endpoint, answer)
            return Analysis(None, answer.failure, answer.detail)
        if answer.is_refused:
            return Analysis(None, "refused", "the model or its provider declined to answer")
        try:
            kept = keep_valid(parse_reply(answer.content), candidates, self.max_step_skills)
        except AnalysisError as error:
            cut = f"; cut at max_tokens={self.max_tokens}" if answer.is_cut else ""
            return Analysis(None, error.reason, error.detail + cut)
        return Analysis(kept.skills, detail=kept.detail)

    def _probe(self) -> ChatReply | Fault:
        request = self._request(PROBE, min(PROBE_TOKENS, self.max_tokens), self._schema([0]))
        connection = self.endpoint.connection()
        return self._retrying(
            connection, request, time.monotonic() + self.analysis_timeout_s
        ).answer

    def _request(self, messages: Sequence[Message], max_tokens: int, schema: Any) -> dict[str, Any]:
        return completion_request(
            self.model, messages, self.temperature, max_tokens, schema, self.extra_body
        )

    def _schema(self, candidates: Sequence[int]) -> object | None:
        """What is sent as one, if any is."""
        if self.structured == "off" or not self.endpoint.takes_schemas:
            return None
        return reply_schema(candidates, self.max_step_skills, self.max_characters)

    @property
    def _retrying(self) -> Retrying:
        return Retrying(self.timeout_s, self.retries, self.backoff_s, self.max_backoff_s)
