"""What a small policy is taught: demonstrations by an expert, and the words they are written in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from opid_lightning.protocols import Environment
from opid_lightning.types import PromptText


@dataclass(frozen=True)
class Example:
    """One prompt, and the response to learn."""

    prompt: PromptText
    response: str


@dataclass(frozen=True)
class Demonstration:
    """One episode: its examples begin alike."""

    examples: tuple[Example, ...]
    won: bool


@runtime_checkable
class DemonstrationSource(Protocol):
    """An environment as it is taught."""

    @property
    def title(self) -> str:
        """The environment's name, for people."""

    @property
    def max_response_tokens(self) -> int:
        """Room for the longest response that is taught."""

    def environments(self) -> Mapping[str, Environment]:
        """By where their tasks come from; the policy is evaluated on each."""

    def tokenizer(self) -> Any:
        """Lossless, with a chat template; it knows the environment's words."""

    def demonstrations(
        self, environments: Mapping[str, Environment], num_episodes: int, seed: int
    ) -> Iterator[Demonstration]:
        """Without end, meant for a training of so many."""

    def facts(self, environments: Mapping[str, Environment]) -> Mapping[str, str]:
        """How the demonstrations are made, for the model card."""
