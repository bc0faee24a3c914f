"""From a response with tags to an action, exactly as the paper's code reads it."""

from __future__ import annotations

import re
from typing import Literal

from opid_lightning.types import Action

Validity = Literal["format", "admissible"]  # what makes an action valid
OPEN, CLOSE = "<action>", "</action>"

_HAN = re.compile("[\u4e00-\u9fff]")


def read_tagged_action(response: str, fallback_length: int) -> Action:
    """The text between the first `<action>` and the first `</action>`, in lower case.

        <think>hungry</think><action>Go to fridge 1</action>   ->  "go to fridge 1", valid
        <THINK>hungry</THINK><action>go to fridge 1</action>   ->  "go to fridge 1", invalid
        </action> go to fridge 1 <think></think><action>       ->  "", valid
        I go to the fridge, because that is where food is kept ->  its last characters, invalid

    Action tags may be of any case, think tags may not, and may stand anywhere. A character of
    U+4E00 to U+9FFF makes a response invalid, other scripts do not. Of a response without tags,
    the last `fallback_length` characters become the action.
    """
    lowered = response.lower()
    start, end = lowered.find(OPEN), lowered.find(CLOSE)
    if start < 0 or end < 0:
        return Action(lowered[-fallback_length:], is_valid=False)
    has_thought = "<think>" in response and "</think>" in response
    return Action(
        lowered[start + len(OPEN) : end].strip(),
        is_valid=has_thought and _HAN.search(response) is None,
    )
