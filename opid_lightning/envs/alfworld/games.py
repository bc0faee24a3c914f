"""Game folders on disk: which there are, whether they are whole, what is in one.

json_2.1.1/train/pick_heat_then_place_in_recep-Apple-None-CounterTop-2/trial_T2019.../
    game.tw-pddl      domain, grammar, problem, solvable, walkthrough
    traj_data.json    task type and parameters
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opid_lightning.files.json_reading import read_json
from opid_lightning.files.omissions import Omissions
from opid_lightning.types import Task

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
RELEASE = "json_2.1.1"
GAME, TRAJECTORY = "game.tw-pddl", "traj_data.json"

_log = logging.getLogger(__name__)
_KEYS = ("pddl_domain", "grammar", "pddl_problem")
_TAIL_BYTES = 16_384  # holds what follows the problem: solvable, walkthrough
_SOLVABLE = re.compile(rb'"solvable":\s*(true|false|null)')
_FIX = (
    "Run `alfworld-download` again (with --data-dir, or with ALFWORLD_DATA set to where the "
    "games belong), point env.data or ALFWORLD_DATA at a folder that holds a whole "
    f"{RELEASE}, or leave both unset to play generated games"
)


def list_tasks(data: Path, split: str) -> tuple[Task, ...]:
    """Every solvable game of the six types, by path.

    What alfworld's own loader skips is left out, counted and reported: `alfworld-download` ships a
    quarter of its trials without a game file. A file that is cut short is an error instead: a
    download or unpacking that stopped half-way shows without parsing the 3,553 files (the last
    16 kB of each are read).
    """
    folder = _split_folder(data, split)
    left_out = Omissions()
    games = [game for trial in _trials(folder, left_out) if (game := _game_in(trial, left_out))]
    if not games:
        found = f"of what it holds, {left_out}" if left_out else "it holds no game folders"
        raise _unusable(folder, found)
    if broken := [problem for game in games if (problem := _cut_short(game.parent))]:
        raise _unusable(
            folder, f"{len(broken)} of {len(games)} games in it are incomplete. {broken[0]}"
        )
    tasks = tuple(_task(game) for game in games if _is_played(game, left_out))
    if not tasks:
        raise ValueError(f"none of the {len(games)} ALFWorld games in {folder} is solvable. {_FIX}")
    left_out.report(_log, f"{len(tasks):,} ALFWorld games in {folder}")
    return tasks


def find_game(path: str | Path) -> Task:
    """The game in a file or folder, wherever it lies."""
    game = Path(path).expanduser()
    game = game / GAME if game.is_dir() else game
    if not game.is_file():
        raise ValueError(f"there is no game at {game}: expected a {GAME} or the folder of one")
    return _task(game.resolve())


def read_game(game: Path) -> dict[str, Any]:
    """The content of game.tw-pddl; raises ValueError where it is gone or damaged."""
    try:
        data: dict[str, Any] = read_json(game.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise corrupt_game(game, "the file is gone") from error
    except ValueError as error:
        raise corrupt_game(game, f"it is no JSON: {error}") from error
    missing = [
        key for key in _KEYS if not (isinstance(data, dict) and isinstance(data.get(key), str))
    ]
    if missing:
        raise corrupt_game(game, f"the texts {', '.join(missing)} are missing")
    return data


def corrupt_game(game: Path, found: str) -> ValueError:
    """The error that names the game, what was found, and what repairs it."""
    return ValueError(
        f"the ALFWorld game {game} cannot be played: {found}. Expected JSON with the texts "
        f"{', '.join(_KEYS)}. {_FIX}"
    )


def _split_folder(data: Path, split: str) -> Path:
    folder = data / RELEASE / split
    if folder.is_dir():
        return folder
    held = sorted(entry.name for entry in data.iterdir())[:8] if data.is_dir() else None
    found = "that folder does not exist" if held is None else f"it holds {held or 'nothing'}"
    if data.name == RELEASE:
        found += f"; give its parent {data.parent}"
    elif (data / RELEASE).is_dir():
        found = f"{RELEASE} is there, but has no folder {split!r}"
    raise ValueError(f"no ALFWorld games in {data}: {found}. Expected {folder}. {_FIX}")


def _unusable(folder: Path, found: str) -> ValueError:
    return ValueError(
        f"the ALFWorld games in {folder} cannot be used: {found}. Expected in each "
        f"<task type>-.../trial_.../ a whole {GAME} and {TRAJECTORY}. {_FIX}"
    )


def _trials(folder: Path, left_out: Omissions) -> Iterator[Path]:
    """Folders of the six task types, in order, whether they hold a game or not."""
    for goal in _folders(folder, left_out):
        if "movable" in goal.name or "Sliced" in goal.name:
            left_out.add("with a movable receptacle or a sliced object", goal)
        elif not _kind(goal.name):
            left_out.add("of no task type of ALFWorld's text games", goal)
        elif trials := list(_folders(goal, left_out)):
            yield from trials
        else:
            left_out.add("without a trial", goal)


def _folders(folder: Path, left_out: Omissions) -> Iterator[Path]:
    """Without hidden ones, such as .ipynb_checkpoints."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            left_out.add("hidden", entry)
        elif not entry.is_dir():
            left_out.add("no folder", entry)
        else:
            yield entry


def _game_in(trial: Path, left_out: Omissions) -> Path | None:
    for name in (GAME, TRAJECTORY):
        if not (trial / name).is_file():
            left_out.add(f"without {name}", trial)
            return None
    return trial / GAME


def _cut_short(trial: Path) -> str | None:
    for path in (trial / GAME, trial / TRAJECTORY):
        if not _tail(path).rstrip().endswith(b"}"):
            return f"{path} is cut short at {path.stat().st_size} bytes"
    return None


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read()


def _is_played(game: Path, left_out: Omissions) -> bool:
    if not (is_solvable := _is_solvable(game)):
        left_out.add("not solvable", game)
    return is_solvable


def _is_solvable(game: Path) -> bool:
    found = _SOLVABLE.findall(_tail(game))
    return found[-1] == b"true" if found else bool(read_game(game).get("solvable"))


def _task(game: Path) -> Task:
    """Named by split, goal and trial, wherever the data folder lies."""
    return Task("/".join(game.parts[-4:-1]), _kind(game.parent.parent.name) or "other", str(game))


def _kind(goal: str) -> str | None:
    kind = goal.partition("-")[0]
    return kind if kind in TASK_TYPES else None
