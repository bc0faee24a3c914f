"""A live game on the native engine."""

from __future__ import annotations

from pathlib import Path

from opid_lightning.envs.alfworld.native.game import load_game
from opid_lightning.envs.alfworld.native.play import Play
from opid_lightning.envs.alfworld.winning import Winning
from opid_lightning.types import Observation, Opening, Task


class NativeSession:
    """Plays one game at a time, beside any number of others."""

    def __init__(self, win_reward: float) -> None:
        self._win_reward = win_reward
        self._play: Play | None = None

    def reset(self, task: Task) -> Opening:
        """Starts the game at the path in `task.payload`."""
        game = load_game(Path(task.payload))
        self._play, self._winning = Play(game), Winning(self._win_reward)
        return Opening(game.goal_words.strip(), self._winning.observe(*self._play.opening()))

    def step(self, action: str) -> Observation:
        """`action` must match an admissible command letter by letter to do anything."""
        if self._play is None:
            raise ValueError("no game is being played: call reset(task) first")
        return self._winning.observe(*self._play.step(action))

    def close(self) -> None:
        """Drops the game; the engine holds nothing outside of it."""
        self._play = None
