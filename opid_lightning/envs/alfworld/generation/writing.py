"""Generated games on disk, in the layout that ALFWorld reads, kept from run to run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from opid_lightning.envs.alfworld.games import GAME, RELEASE, TASK_TYPES, TRAJECTORY
from opid_lightning.envs.alfworld.generation.furnishing import Room, furnish
from opid_lightning.envs.alfworld.generation.goals import draw_goal
from opid_lightning.envs.alfworld.generation.problem import write_problem
from opid_lightning.envs.alfworld.generation.walkthrough import walk
from opid_lightning.envs.alfworld.stock import shipped
from opid_lightning.files.atomic import folder_made_once
from opid_lightning.files.user_cache import cache_folder

VERSION = 3  # of what a seed yields; part of the cache's key
GOAL_PLACE = "UNKNOWN GOAL"  # in alfworld's grammar


@dataclass(frozen=True)
class Game:
    """A generated game before it is written."""

    folder: str  # train/<task type>-.../trial_...
    room: Room
    words: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its trial, which is the last part of its folder."""
        return Path(self.folder).name

    def files(self) -> dict[str, str]:
        """The content of game.tw-pddl and traj_data.json by file name."""
        walkthrough = walk(self.room)
        game = {
            "pddl_domain": _shipped_text("alfred.pddl"),
            "grammar": _shipped_text("alfred.twl2").replace(GOAL_PLACE, self.words),
            "pddl_problem": write_problem(self.room, self.name),
            "solvable": True,
            "walkthrough": walkthrough,
        }
        plan = self.room.plan
        trajectory = {
            "task_id": self.name,
            "task_type": self.room.goal.task_type,
            "pddl_params": self.room.goal.parameters,
            "turk_annotations": {
                "anns": [{"task_desc": f"{self.words}.", "high_descs": walkthrough}]
            },
            "scene": {
                "floor_plan": plan.name,
                "scene_num": plan.number,
                "random_seed": self.seed,
            },
        }
        return {GAME: json.dumps(game), TRAJECTORY: json.dumps(trajectory)}


def generate(split: str, num_games: int, seed: int) -> Iterator[Game]:
    """The six task types in turn. Every game depends on its split, number and seed alone."""
    for index in range(num_games):
        rng = random.Random(f"{VERSION} {seed} {split} {index}")
        task_type = TASK_TYPES[index % len(TASK_TYPES)]
        goal, plan = draw_goal(task_type, split == "valid_unseen", rng)
        room = furnish(plan, goal, rng)
        folder = f"{split}/{goal.folder_name(plan)}/trial_G{seed}_{index:06d}"
        yield Game(folder, room, goal.words(rng), seed)


def generated_games(num_train: int, num_valid: int, seed: int, games_cache: str | None) -> Path:
    """The folder that holds them; they are made there if this is the first time."""
    folder = games_folder(num_train, num_valid, seed, games_cache)
    if not folder.is_dir():
        sizes = {"train": num_train, "valid_seen": num_valid, "valid_unseen": num_valid}
        with folder_made_once(folder) as draft:
            for split, num_games in sizes.items():
                for game in generate(split, num_games, seed):
                    _write(draft / RELEASE / game.folder, game)
    return folder


def games_folder(num_train: int, num_valid: int, seed: int, games_cache: str | None) -> Path:
    """Where such games are kept, made already or not."""
    root = cache_folder("alfworld", games_cache)
    return root / f"games-v{VERSION}-seed{seed}-train{num_train}-valid{num_valid}"


def _write(folder: Path, game: Game) -> None:
    folder.mkdir(parents=True)
    for name, text in game.files().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


@cache
def _shipped_text(name: str) -> str:
    return shipped(f"data/{name}").read_text(encoding="utf-8")
