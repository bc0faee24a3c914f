"""SelfHindsight: the policy as its own analyst."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from opid_lightning.hindsight.prompt import PROMPT_VERSION, analysis_messages, reply_schema
from opid_lightning.hindsight.reply import AnalysisError, keep_valid, parse_reply
from opid_lightning.protocols import (
    AnalystUnavailableError,
    PolicyClient,
    PolicyClientEndedError,
    RequestTooLongError,
)
from opid_lightning.types import Analysis, Exchange, Trajectory, Usage
from opid_lightning.value_checks import check_range, check_temperature


@dataclass
class SelfHindsight:
    """Asks the policy while it is served for the rollout, with replies held to a JSON schema.

    Its requests run beside those of the rollout, in the same engine and with the same weights, so
    it takes a sampler that can follow a schema: vllm or vllm_server. An analysis depends on the
    weights, which are part of the identity: no other iteration is answered from the cache, but one
    that is played again after a kill is.
    """

    temperature: float = 0.4  # sampling temperature
    max_tokens: int = 1024  # longest reply
    max_characters: int = 300  # longest text in a reply, so that a weak model's replies end
    max_step_skills: int = 5  # step skills of a trajectory at most
    # discount of the returns that the prompt shows; null: advantage.gamma
    gamma: float | None = None
    # longer records have old observations cut; null: no limit
    max_record_characters: int | None = None
    _client: PolicyClient | None = field(default=None, init=False, repr=False, compare=False)
    _weights: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 1), ("max_characters", 1), ("max_step_skills", 0)):
            check_range(f"analyst.{name}", getattr(self, name), at_least=least)
        check_temperature("analyst.temperature", self.temperature)
        check_range("analyst.gamma", self.gamma, at_least=0, at_most=1, or_null=True)
        limit = self.max_record_characters
        check_range("analyst.max_record_characters", limit, at_least=1, or_null=True)

    @property
    def identity(self) -> str:
        """Settings, version of the prompt, and the weights that answer."""
        return f"{self!r} prompt {PROMPT_VERSION} weights {self._weights}"

    def start(self) -> None:
        """Whether the sampler follows schemas shows with the first question."""

    def listen(self, client: PolicyClient) -> None:
        """Takes the rollout's client, and the identity of the weights that it serves."""
        self._client = client
        # Here, where all ranks are: a sharded policy's weights are gathered by all of them at once.
        self._weights = client.identity

    def close(self) -> None:
        """Forgets the client."""
        self._client, self._weights = None, ""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """Asks the policy once.

        A prompt that is too long, or comes too late, is a named failure.
        """
        try:
            exchange = self._ask(trajectory, candidates)
        except RequestTooLongError as error:
            return Analysis(None, "context_too_long", self._advice(trajectory, error))
        except PolicyClientEndedError as error:
            return Analysis(None, "late", str(error))
        except ValueError as refusal:
            raise AnalystUnavailableError(f"analyst=self cannot work: {refusal}") from refusal
        return self._read(exchange, candidates)

    def _ask(self, trajectory: Trajectory, candidates: Sequence[int]) -> Exchange:
        messages = analysis_messages(
            trajectory, candidates, self.max_step_skills, self.gamma, self.max_record_characters
        )
        schema = reply_schema(candidates, self.max_step_skills, self.max_characters)
        # Not all chat templates have a place for a system message.
        message = "\n\n".join(part["content"] for part in messages)
        answer = self._served.ask(
            message,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed_of(message),
            schema=json.dumps(schema),
        )
        return answer.result()

    def _read(self, exchange: Exchange, candidates: Sequence[int]) -> Analysis:
        completion = exchange.completion
        usage = Usage(
            requests=1,
            prompt_tokens=len(exchange.request.prompt_ids),
            completion_tokens=len(completion.token_ids),
        )
        try:
            kept = keep_valid(parse_reply(completion.text), candidates, self.max_step_skills)
        except AnalysisError as error:
            cut = f"; cut at max_tokens={self.max_tokens}" if completion.is_cut else ""
            return Analysis(None, error.reason, error.detail + cut, usage)
        return Analysis(kept.skills, detail=kept.detail, usage=usage)

    def _advice(self, trajectory: Trajectory, error: RequestTooLongError) -> str:
        return (
            f"the record of {len(trajectory.steps)} steps and a reply of up to {self.max_tokens} "
            f"tokens need {error.needed} positions, but the policy is served with {error.given}: "
            "set analyst.max_record_characters, or lower analyst.max_tokens"
        )

    @property
    def _served(self) -> PolicyClient:
        if self._client is None:
            raise AnalystUnavailableError(
                "analyst=self writes hindsight while the policy is served for a training rollout, "
                "and none has begun: use it in `fit` alone, or another analyst"
            )
        return self._client


def seed_of(message: str) -> int:
    """Equal trajectories get equal skills, whichever of them was asked about first."""
    return int.from_bytes(hashlib.blake2b(message.encode(), digest_size=8).digest()) >> 1
