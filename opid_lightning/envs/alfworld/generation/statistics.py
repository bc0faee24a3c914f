"""What rooms and goals are drawn from: figures counted in the released training games.

statistics.json is made by `python -m benchmarks.alfworld_statistics`. It holds counts alone, no
game and no text of one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

Counts = tuple[int, ...]  # in how many games there were 0, 1, 2 ...


@dataclass(frozen=True)
class Statistics:
    """The content of statistics.json, counts that are never changed at run time."""

    source: str
    standing: dict[str, dict[str, int]]  # by room: receptacles that its floor plan does not place
    copies: dict[str, dict[str, Counts]]  # by room type: objects of a kind, where no goal's object
    goal_copies: dict[str, Counts]  # by task type: objects of the kind that the goal asks for
    # By room type and kind of object: how much one receptacle of a kind draws such an object. The
    # chance that it lies in this receptacle is this one's share of the sum over the room.
    preferences: dict[str, dict[str, dict[str, int]]]
    # By task type, room type and what is asked for, "Mug Shelf": games.
    goals: dict[str, dict[str, dict[str, int]]]


@cache
def statistics() -> Statistics:
    """The table that ships with the package, read once."""
    text = resources.files(__package__).joinpath("statistics.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return Statistics(**table)
