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

    max_steps: int = 30  # an episode ends after so many actions
    history_length: int = 5  # past turns that a prompt shows
    # wording of the prompt; brief: what model=small reads
    prompt_style: PromptStyle = "instructive"
    win_reward: float = 1.0  # reward of a won game
    validity: Validity = "format"  # what makes an action valid
    # textworld: alfworld's own engine, far slower
    engine: Literal["native", "textworld"] = "native"
    # a folder with json_2.1.1; else $ALFWORLD_DATA; else games are generated
    data: str | None = None
    num_train_games: int = 3000  # number of generated games
    num_valid_games: int = 120  # generated games in each of the two validation splits
    games_seed: int = 0  # seed of the generated games
    games_cache: str | None = None  # where generated games are kept; null: the user's cache folder

    def __post_init__(self) -> None:
        least = {"max_steps": 1, "history_length": 0, "num_train_games": 1, "num_valid_games": 1}
        for name, bound in least.items():
            check_range(f"env.{name}", getattr(self, name), at_least=bound)
        check_range("env.win_reward", self.win_reward, above=0, at_most=LARGEST_REWARD)
        check_words("env", self)

    def tasks(self, split: Split) -> Sequence[Task]:
        """The games of a split; raises ValueError where `data` holds none."""
        return list_tasks(self._data_folder(), split)

    def task_from(self, path: str | Path) -> Task:
        """The game in a game.tw-pddl file or in its folder."""
        return find_game(path)

    def open(self) -> Session:
        """A session on the engine that `engine` names."""
        session = NativeSession if self.engine == "native" else TextWorldSession
        return session(self.win_reward)

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        """The prompt in the chosen style, with at most `history_length` turns."""
        write = write_brief_prompt if self.prompt_style == "brief" else write_prompt
        return write(goal, history, observation, self.history_length)

    def action(self, response: str, observation: Observation) -> Action:
        """Reads `<action>`; with `validity="admissible"`, one that is not listed is invalid."""
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
