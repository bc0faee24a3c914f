"""OpenAI: a language model behind an OpenAI-compatible endpoint as analyst."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from opid_lightning.skills.analysis_prompt import analysis_messages
from opid_lightning.skills.parsing import AnalysisError, keep_valid, parse_reply
from opid_lightning.types import Analysis, Trajectory

if TYPE_CHECKING:
    import openai


@dataclass(frozen=True)
class OpenAI:
    """Asks once per trajectory for a chat completion, and reads the reply.

    An unusable reply raises AnalysisError; an error of the endpoint (wrong key, no connection,
    timeout) rises as it is, so that a run does not go on without skills unnoticed.
    The key is read from the environment and kept nowhere else.
    """

    model: str
    base_url: str | None = None  # None: OpenAI's own
    temperature: float = 0.4  # paper
    max_tokens: int = 2048
    timeout_s: float = 60.0
    max_step_skills: int = 5
    gamma: float = 0.95
    key_variable: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        check_range("max_step_skills", self.max_step_skills, self.max_step_skills >= 0, "0 or more")
        check_range("temperature", self.temperature, 0 <= self.temperature <= 2, "0 to 2")
        check_range("max_tokens", self.max_tokens, self.max_tokens >= 1, "1 or more")
        check_range("timeout_s", self.timeout_s, self.timeout_s > 0, "more than 0")
        check_range("gamma", self.gamma, 0 <= self.gamma <= 1, "0 to 1")
        if self.base_url is None and not os.environ.get(self.key_variable):
            raise ValueError(
                f"The analyst OpenAI(model={self.model!r}) has no key: set the environment "
                f"variable {self.key_variable}, or set base_url to an endpoint that needs none."
            )

    @property
    def identity(self) -> str:
        return f"{self!r} 1"

    def start(self) -> None:
        """Not probed yet."""

    def close(self) -> None:
        self._client.close()

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        messages: Any = analysis_messages(trajectory, self.max_step_skills, self.gamma)
        completion = self._client.chat.completions.create(
            model=self.model,
            messages=messages,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        reply = completion.choices[0].message.content if completion.choices else None
        try:
            skills = keep_valid(parse_reply(reply), len(trajectory.steps), self.max_step_skills)
        except AnalysisError as error:
            return Analysis(None, error.reason, error.detail)
        return Analysis(skills)

    @cached_property
    def _client(self) -> openai.OpenAI:
        """Made when first used: importing the package takes a second."""
        import openai

        # An endpoint that needs no key still has to be sent something.
        key = os.environ.get(self.key_variable) or "none"
        return openai.OpenAI(
            api_key=key, base_url=self.base_url, timeout=self.timeout_s, max_retries=0
        )


def check_range(name: str, value: float, is_in_range: bool, expected: str) -> None:
    if not is_in_range:
        raise ValueError(f"OpenAI.{name} is {value}; expected {expected}.")
