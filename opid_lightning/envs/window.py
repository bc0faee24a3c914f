"""The last turns of a history, each with what it brought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from opid_lightning.types import Observation, Turn

PromptStyle = Literal["instructive", "brief"]  # brief: for small policies that learned the form


def last_turns(
    history: Sequence[Turn], observation: Observation, length: int
) -> list[tuple[Turn, Observation]]:
    """Of so many turns; what one brought is what was seen at the next, or is seen now."""
    turns = history[-length:] if length else ()
    brought = [turn.observation for turn in turns[1:]] + [observation]
    return list(zip(turns, brought, strict=False))  # without turns there is one more
