"""Budget: what the analyses of a run may take."""

from __future__ import annotations

from dataclasses import dataclass

from opid_lightning.types import Usage
from opid_lightning.value_checks import check_range


@dataclass(frozen=True)
class Budget:
    """Once either limit is reached, nothing more is asked.

    Requests that are out when it is reached are still paid for: as many as there are workers.
    """

    cost: float | None = None  # at the analyst's prices
    tokens: int | None = None  # of prompts and completions

    def __post_init__(self) -> None:
        for name, setting in (("cost", "budget"), ("tokens", "max_tokens_spent")):
            check_range(
                f"SkillExtraction.{setting}",
                getattr(self, name),
                above=0,
                or_null=True,
                hint="for no skills at all: method=grpo",
            )

    def exceeded_by(self, spent: Usage) -> str:
        """Which limit is reached, in words; blank where none is."""
        if self.cost is not None and spent.cost >= self.cost:
            return f"{spent.cost:g} of a budget of {self.cost:g} are spent"
        tokens = spent.prompt_tokens + spent.completion_tokens
        if self.tokens is not None and tokens >= self.tokens:
            return f"{tokens} of at most {self.tokens} tokens are spent"
        return ""

    def uncounted_by(self, spent: Usage) -> str:
        """Why a limit can never be reached by requests such as were answered; else blank."""
        tokens = spent.prompt_tokens + spent.completion_tokens
        if not spent.requests or (
            (self.cost is None or spent.cost) and (self.tokens is None or tokens)
        ):
            return ""
        if tokens:
            return "analyst.input_price and .output_price are 0. Set what a million tokens cost"
        return "the server does not say how many tokens its answers take (usage)"
