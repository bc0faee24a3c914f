"""A live game on stock textworld. Another engine is another class with these three methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opid_lightning.envs.alfworld.games import corrupt_game, read_game
from opid_lightning.envs.alfworld.prompt import GOAL_MARK, goal_of
from opid_lightning.envs.alfworld.stock import new_engine, translating_once
from opid_lightning.envs.alfworld.winning import Winning
from opid_lightning.types import Observation, Opening, Task

# A closed engine leaves its shared library loaded for good, so none is: the next session
# takes it over.
_idle_engines: list[Any] = []


class TextWorldSession:
    """Plays one game at a time. Not for threads: the engine swaps `sys.stdout` while it loads."""

    def __init__(self, win_reward: float) -> None:
        self._win_reward = win_reward
        self._engine: Any = _idle_engines.pop() if _idle_engines else new_engine()
        self._loaded: tuple[Path, int] | None = None  # the game, and when it was written
        self._winning = Winning(win_reward)

    def reset(self, task: Task) -> Opening:
        """Starts the game at the path in `task.payload`.

        ValueError where its opening names no goal.
        """
        game = Path(task.payload)
        self._winning = Winning(self._win_reward)
        state = self._start(game)
        goal = goal_of(state["feedback"])
        if goal is None:
            raise corrupt_game(game, f"its opening text lacks {GOAL_MARK!r}")
        return Opening(goal, self._observe(state))

    def step(self, action: str) -> Observation:
        """`action` must match an admissible command letter by letter to do anything."""
        state, _, _ = self._engine.step(action)
        return self._observe(state)

    def close(self) -> None:
        """Gives the engine back for the next session, as starting one takes seconds."""
        if self._engine is not None:
            _idle_engines.append(self._engine)
            self._engine = None

    def _start(self, game: Path) -> Any:
        data = read_game(game)
        # A broken problem makes the engine's parsers raise whatever they happen to trip over,
        # SystemExit among it; all of them mean the same here.
        try:
            with translating_once():
                self._load(game, data)
                return self._engine.reset()
        except (Exception, SystemExit) as error:
            self._loaded = None
            raise corrupt_game(game, f"the engine stops with {error!r:.300}") from error

    def _load(self, game: Path, data: dict[str, Any]) -> None:
        version = (game, game.stat().st_mtime_ns)
        if version != self._loaded:
            self._engine.load(data)
            self._loaded = version

    def _observe(self, state: Any) -> Observation:
        return self._winning.observe(
            state["feedback"], tuple(state["admissible_commands"]), bool(state["won"])
        )
