"""Plays the walkthroughs that game folders carry.

    python -m benchmarks.alfworld_walkthroughs GAMES_DIRECTORY [--engine textworld] [--games N]

GAMES_DIRECTORY holds json_2.1.1, released or generated. Each command has to be listed when it is
given, and the last one, no earlier one, has to win. Exits with 1 where a game is not won so.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Literal, get_args

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.games import list_tasks, read_game
from opid_lightning.protocols import Session, Split
from opid_lightning.types import Task

Engine = Literal["native", "textworld"]
SPLITS: tuple[Split, ...] = get_args(Split)


def play(games: Path, engine: Engine, num_games: int | None) -> bool:
    """Whether all are won, of all games or of as many drawn ones."""
    session = ALFWorld(engine=engine).open()
    tasks = [task for split in SPLITS for task in list_tasks(games, split)]
    if num_games is not None:
        tasks = random.Random(0).sample(tasks, min(num_games, len(tasks)))
    start = time.perf_counter()
    lost = [task.id for task in tasks if not wins(session, task)]
    seconds = time.perf_counter() - start
    print(f"{len(tasks) - len(lost)} of {len(tasks)} walkthroughs won on {engine}, {seconds:.0f} s")
    for name in lost:
        print("not won:", name)
    return not lost


def wins(session: Session, task: Task) -> bool:
    seen = session.reset(task).observation
    for command in read_game(Path(task.payload))["walkthrough"]:
        if seen.won or command not in seen.admissible:
            return False
        seen = session.step(command)
    return seen.won


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("games_directory", type=Path, help="holds json_2.1.1")
    parser.add_argument("--engine", choices=get_args(Engine), default="native")
    parser.add_argument("--games", type=int, help="how many, drawn at random; all if not given")
    arguments = parser.parse_args()
    sys.exit(0 if play(arguments.games_directory, arguments.engine, arguments.games) else 1)


if __name__ == "__main__":
    main()
