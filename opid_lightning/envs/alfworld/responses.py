"""From a response to an action, as the paper's code reads it in ALFWorld."""

from __future__ import annotations

from opid_lightning.envs.tagged_action import read_tagged_action
from opid_lightning.types import Action

FALLBACK_LENGTH = 30  # characters of a response without tags that become its action


def read_action(response: str) -> Action:
    """The action in a response; without tags, its last `FALLBACK_LENGTH` characters, invalid."""
    return read_tagged_action(response, FALLBACK_LENGTH)
