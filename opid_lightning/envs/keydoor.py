"""keydoor: a corridor with a key and a door. Solvable by hand, learnable in under a minute.

. A . K D      A you, K the key, D the door: right, right, take, right, open
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from opid_lightning.protocols import Session, Split
from opid_lightning.types import Action, Observation, Opening, PromptText, Task, Turn
from opid_lightning.value_checks import LARGEST_REWARD, check_range

ACTIONS = ("left", "right", "take", "open")
GOAL = "take the key, open the door"
INVALID = "nothing"  # played for a response that names no action


@dataclass(frozen=True)
class Layout:
    """Where everything is at the start, counted from the left end of the corridor."""

    start: int
    key: int | None  # None: in your hand already
    door: int

    @property
    def kind(self) -> str:
        """Whether there is a key to fetch, and the way from it to the door turns round."""
        if self.key is None:
            return "door_only"
        turns = (self.key - self.start) * (self.door - self.key) < 0
        return "turn_round" if turns else "straight_on"

    @property
    def id(self) -> str:
        """Unique among layouts of one size, such as start0-key2-door3."""
        key = "held" if self.key is None else f"key{self.key}"
        return f"start{self.start}-{key}-door{self.door}"


MAX_SIZE = 100  # of which there are a million tasks


@dataclass(frozen=True)
class Keydoor:
    """All corridors of one size, with some places of key and door held out for validation."""

    size: int = 4  # places of the corridor
    max_steps: int = 15  # an episode ends after so many actions
    history_length: int = 0  # past turns that a prompt shows
    win_reward: float = 10.0  # reward of opening the door
    seed: int = 0  # seed of the split into training and validation tasks

    def __post_init__(self) -> None:
        check_range("env.size", self.size, at_least=3, at_most=MAX_SIZE)
        check_range("env.max_steps", self.max_steps, at_least=1)
        check_range("env.history_length", self.history_length, at_least=0)
        check_range("env.win_reward", self.win_reward, above=0, at_most=LARGEST_REWARD)

    def tasks(self, split: Split) -> Sequence[Task]:
        """valid_seen has new starts among places seen in training, valid_unseen new places."""
        source = random.Random(self.seed)
        cells = range(self.size)
        places = [(key, door) for key in (None, *cells) for door in cells if key != door]
        source.shuffle(places)
        num_unseen = max(1, len(places) // 5)
        layouts: dict[str, list[Layout]] = {"train": [], "valid_seen": [], "valid_unseen": []}
        for index, (key, door) in enumerate(places):
            held_out = source.randrange(self.size)
            for start in cells:
                seen = "valid_seen" if start == held_out else "train"
                layouts["valid_unseen" if index < num_unseen else seen].append(
                    Layout(start, key, door)
                )
        return [Task(layout.id, layout.kind, layout) for layout in layouts[split]]

    def open(self) -> Session:
        """A corridor of this size."""
        return _Corridor(self.size, self.win_reward)

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        """Goal, the last `history_length` turns, and the observation, in one line each."""
        shown = history[-self.history_length :] if self.history_length else ()
        past = [f"{turn.observation.text} Then {turn.action.text}." for turn in shown]
        return PromptText(
            task=f"{goal}.",
            situation=" ".join([*past, observation.text]),
            request="Then?",
        )

    def action(self, response: str, observation: Observation) -> Action:
        """The first word that is an action; forgiving, so that chance finds actions at all."""
        named = [word for word in re.findall(r"[a-z]+", response.lower()) if word in ACTIONS]
        return Action(named[0], True) if named else Action(INVALID, False)


class _Corridor:
    """A live game."""

    def __init__(self, size: int, win_reward: float) -> None:
        self.size = size
        self.win_reward = win_reward

    def reset(self, task: Task) -> Opening:
        self.layout: Layout = task.payload
        self.position = self.layout.start
        self.has_key = self.layout.key is None
        self.won = False
        return Opening(GOAL, self._observation(self._description()))

    def step(self, action: str) -> Observation:
        if action not in self._admissible():
            return self._observation(f"Nothing. {self._description()}")
        if action == "open":
            self.won = True
            return self._observation("The door is open.")
        self.position += {"left": -1, "right": 1}.get(action, 0)
        self.has_key = self.has_key or action == "take"
        return self._observation(self._description())

    def close(self) -> None:
        """Holds nothing to close."""

    def _admissible(self) -> tuple[str, ...]:
        possible = {
            "left": self.position > 0,
            "right": self.position < self.size - 1,
            "take": self.position == self.layout.key and not self.has_key,
            "open": self.position == self.layout.door and self.has_key,
        }
        return tuple(action for action in ACTIONS if possible[action] and not self.won)

    def _description(self) -> str:
        """The next thing to reach: the key, then the door."""
        if self.layout.key is None or self.has_key:
            return f"The door is {self._direction(self.layout.door)}."
        return f"The key is {self._direction(self.layout.key)}."

    def _direction(self, place: int) -> str:
        if place == self.position:
            return "here"
        return "left" if place < self.position else "right"

    def _observation(self, text: str) -> Observation:
        reward = self.win_reward if self.won else 0.0
        return Observation(text, self._admissible(), reward, done=self.won, won=self.won)
