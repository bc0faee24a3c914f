"""The tasks that an environment has on this machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from opid_lightning.cli.doctor.findings import Finding, State
from opid_lightning.cli.doctor.parts import Parts

if TYPE_CHECKING:
    from opid_lightning.envs.alfworld import ALFWorld
    from opid_lightning.protocols import Environment


def check_data(parts: Parts) -> Iterator[Finding]:
    """ALFWorld's where no configuration is named: the one environment that reads files."""
    from opid_lightning.envs.alfworld import ALFWorld

    environment = ALFWorld() if parts.tree is None else parts.build("env")
    if isinstance(environment, ALFWorld) and environment.given_games is None:
        yield check_cache(environment)
    else:
        given = environment.given_games if isinstance(environment, ALFWorld) else None
        yield from check_tasks(environment, given)


def check_tasks(environment: Environment, given: Path | None) -> Iterator[Finding]:
    """Lists each split, which looks at every game's files."""
    from opid_lightning.protocols import Split

    place = f" in {given}" if given else ""
    fix = f"alfworld-download --data-dir {shlex.quote(str(given))}" if given else ""
    for split in get_args(Split):
        try:
            num_tasks = len(environment.tasks(split))
        except ValueError as error:
            yield Finding(f"data {split}", State.MISSING, str(error), fix)
        else:
            yield Finding(f"data {split}", State.OK, f"{num_tasks} tasks{place}")


def waits_for_games(environment: Environment) -> bool:
    """Whether there are none yet, as the first run generates them."""
    from opid_lightning.envs.alfworld import ALFWorld

    if not isinstance(environment, ALFWorld) or environment.given_games is not None:
        return False
    return not environment.cached_games.is_dir()


def check_cache(environment: ALFWorld) -> Finding:
    """Whether ALFWorld's generated games are cached, or can be written where they would be."""
    folder = environment.cached_games
    if folder.is_dir():
        return Finding("data", State.OK, f"no ALFWORLD_DATA: the generated games of {folder}")
    there = next(parent for parent in folder.parents if parent.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        found = f"no ALFWORLD_DATA: the first run generates games into {folder}"
        return Finding("data", State.OK, found)
    found = f"no ALFWORLD_DATA, and games cannot be generated into {folder}: {there} "
    found += "may not be written" if there.is_dir() else "is no folder"
    fix = "repeat it with env.games_cache=FOLDER, or export XDG_CACHE_HOME=FOLDER"
    return Finding("data", State.BROKEN, found, fix)
