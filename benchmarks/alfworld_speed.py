"""Steps ALFWorld on both engines, side by side: steps a second, memory and load time.

    python -m benchmarks.alfworld_speed GAMES_DIRECTORY [--environments 1 16 128 1024]

Each measurement is a process of its own, one after another: it opens the environments, each on
another game as far as there are games, and steps them in turn with random admissible commands.
Load time is that of `reset` with a game not seen before; memory is what the process grows by, an
environment. Stock, whose games take half a second each to load, is left out where it would not fit.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.games import GAME, find_game
from opid_lightning.protocols import Session
from opid_lightning.types import Observation, Task

ENGINES = ("native", "textworld")
STOCK_MB = 10  # an environment, at most
SECONDS = {"native": 3.0, "textworld": 12.0}
Row = dict[str, float]


def measure(engine: str, num_environments: int, tasks: list[Task]) -> Row:
    environment = ALFWorld(engine=engine)  # type: ignore[arg-type]
    _open(environment, tasks[-1:])  # what is imported and filled once is no environment's
    before, started = _resident_mb(), time.perf_counter()
    chosen = [tasks[index % len(tasks)] for index in range(num_environments)]
    playing = _open(environment, chosen)
    load_ms = 1000 * (time.perf_counter() - started) / num_environments
    steps_per_s = _step(playing, SECONDS[engine])
    memory_mb = (_resident_mb() - before) / num_environments
    return {"steps_per_s": steps_per_s, "memory_mb": memory_mb, "load_ms": load_ms}


def _open(environment: ALFWorld, tasks: list[Task]) -> list[tuple[Session, Observation]]:
    sessions = [(environment.open(), task) for task in tasks]
    return [(session, session.reset(task).observation) for session, task in sessions]


def _step(playing: list[tuple[Session, Observation]], seconds: float) -> float:
    """In turn, until the time is over."""
    rng, num_steps, started = random.Random(0), 0, time.perf_counter()
    sessions = [session for session, _ in playing]
    seen = [observation for _, observation in playing]
    while True:
        for index, session in enumerate(sessions):
            seen[index] = session.step(rng.choice(seen[index].admissible))
            num_steps += 1
            if num_steps % 8 == 0 and (elapsed := time.perf_counter() - started) > seconds:
                return num_steps / elapsed


def _resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _available_mb() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20


def _tasks(directory: Path, seed: int) -> list[Task]:
    games = sorted(directory.expanduser().rglob(GAME))
    if not games:
        raise SystemExit(f"there is no {GAME} under {directory}")
    random.Random(seed).shuffle(games)
    return [find_game(game) for game in games[:1025]]


def _measured_apart(options: argparse.Namespace, engine: str, number: int) -> Row | None:
    if engine == "textworld" and number * STOCK_MB > _available_mb():
        return None
    command = [sys.executable, "-m", "benchmarks.alfworld_speed", str(options.directory)]
    command += ["--seed", str(options.seed), "--measure", engine, str(number)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: Row = json.loads(run.stdout.splitlines()[-1])
    return row


def _print_table(options: argparse.Namespace) -> None:
    print("| environments | engine | steps/s | MB an environment | ms to load | times stock |")
    print("|---:|---|---:|---:|---:|---:|", flush=True)
    for number in options.environments:
        stock = _measured_apart(options, "textworld", number)
        native = _measured_apart(options, "native", number)
        for engine, row in (("textworld", stock), ("native", native)):
            if row is None:
                print(f"| {number} | {engine} | does not fit in memory | | | |", flush=True)
                continue
            times = f"{row['steps_per_s'] / stock['steps_per_s']:,.0f}" if stock else ""
            print(
                f"| {number:,} | {engine} | {row['steps_per_s']:,.0f} | {row['memory_mb']:.3f} "
                f"| {row['load_ms']:,.1f} | {times} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--environments", type=int, nargs="+", default=[1, 16, 128, 1024])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # one row, in this process
    options = parser.parse_args()
    if options.measure:
        engine, number = options.measure
        print(json.dumps(measure(engine, int(number), _tasks(options.directory, options.seed))))
    else:
        _print_table(options)


if __name__ == "__main__":
    main()
