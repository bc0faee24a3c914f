"""ALFWorld as an Environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from opid_lightning.envs.alfworld.games import find_game, list_tasks
from opid_lightning.envs.alfworld.generation import games_folder, generated_games
from opid_lightning.envs.alfworld.native import NativeSession
from opid_lightning.envs.alfworld.prompt import write_brief_prompt, write_prompt
from opid_lightning.envs.alfworld.responses import read_action
from opid_lightning.envs.alfworld.session import TextWorldSession
from opid_lightning.envs.alfworld.stock import DATA_VARIABLE
from opid_lightning.envs.tagged_action import Validity
from opid_lightning.envs.window import PromptStyle
from opid_lightning.protocols import Session, Split
from opid_lightning.types import Action, Observation, PromptText, Task, Turn
from opid_lightning.value_checks import LARGEST_REWARD, check_range, check_words

_log = logging.getLogger(__name__)


@dataclass
class ALFWorld:
    """Household tasks: find, clean, heat, cool and place things, or look at them under a lamp."""

    max_steps: int = 30
    history_length: int = 5  # turns that a prompt shows
    prompt_style: PromptStyle = "instructive"
    win_reward: float = 1.0
    validity: Validity = "format"  # what makes an action valid
    engine: Literal["native", "textworld"] = "native"  # the latter is the original, and slow
    data: str | None = None  # holds json_2.1.1; else $ALFWORLD_DATA, else games are generated
    num_train_games: int = 3000  # generated
    num_valid_games: int = 120  # generated, in each of the two validation splits
    games_seed: int = 0
    games_cache: str | None = None  # default: in the user's cache folder

    def __post_init__(self) -> None:
        least = {"max_steps": 1, "history_length": 0, "num_train_games": 1, "num_valid_games": 1}
        for name, bound in least.items():
            check_range(f"env.{name}", getattr(self, name), at_least=bound)
        check_range("env.win_reward", self.win_reward, above=0, at_most=LARGEST_REWARD)
        check_words("env", self)

    def tasks(self, split: Split) -> Sequence[Task]:
        return list_tasks(self._data_folder(), split)

    def task_from(self, path: str | Path) -> Task:
        """The game in a game.tw-pddl file or in its folder."""
        return find_game(path)

    def open(self) -> Session:
        session = NativeSession if self.engine == "native" else TextWorldSession
        return session(self.win_reward)

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        write = write_brief_prompt if self.prompt_style == "brief" else write_prompt
        return write(goal, history, observation, self.history_length)

    def action(self, response: str, observation: Observation) -> Action:
        action = read_action(response)
        if self.validity == "admissible" and action.text not in observation.admissible:
            return replace(action, is_valid=False)
        return action

    @property
    def given_games(self) -> Path | None:
        """The folder that was named for them; without one they are generated."""
        given = self.data or os.environ.get(DATA_VARIABLE)
        return Path(given).expanduser() if given else None

    @property
    def cached_games(self) -> Path:
        """Where generated games are kept, made already or not."""
        return games_folder(*self._generation)

    @property
    def _generation(self) -> tuple[int, int, int, str | None]:
        return self.num_train_games, self.num_valid_games, self.games_seed, self.games_cache

    def _data_folder(self) -> Path:
        if self.given_games is not None:
            return self.given_games
        folder = generated_games(*self._generation)
        _announce(folder)
        return folder


@cache
def _announce(folder: Path) -> None:
    _log.warning("env.data and %s are not set: playing generated games, %s", DATA_VARIABLE, folder)
