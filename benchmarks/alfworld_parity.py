"""Plays games on both ALFWorld engines and compares every text, command list, score and end.

    python -m benchmarks.alfworld_parity GAMES_DIRECTORY [--games N] [--seed S]

Each game under the directory (all, or N drawn by the seed) is played as its walkthrough says, as
it says with detours, and at random: see `--plays`. Detours and random steps take admissible
commands, and others: unknown ones, in wrong case, of another place, padded with spaces. Plays go
on after a win. Prints each difference, then the numbers; exits with 1 if there is any.
`--resume FILE` notes the games that are done, and passes them over the next time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from opid_lightning.envs.alfworld.games import GAME, read_game
from opid_lightning.envs.alfworld.native.game import load_game
from opid_lightning.envs.alfworld.native.play import Play
from opid_lightning.envs.alfworld.stock import new_engine, translating_once

PLAYS = ("walkthrough", "detours", "random")
UNKNOWN = ("", "fly", "go to", "take", "open fridge", "put it down", "go to moon 1", "examine", "?")
AFTER_THE_END = ("look", "inventory", "help", "fly")


@dataclass(frozen=True)
class Answer:
    """What an engine says to one command."""

    text: str
    admissible: tuple[str, ...]
    score: int
    is_done: bool
    is_won: bool


class Stock:
    """alfworld 0.4.2 on textworld 1.7.0."""

    def __init__(self) -> None:
        self._engine = new_engine()

    def start(self, path: Path) -> Answer:
        with translating_once():
            self._engine.load(read_game(path))
            return self._answer(self._engine.reset(), 0, False)

    def step(self, command: str) -> Answer:
        return self._answer(*self._engine.step(command))

    def _answer(self, state: Any, score: int, is_done: bool) -> Answer:
        commands = tuple(state["admissible_commands"])
        return Answer(state["feedback"], commands, score, is_done, bool(state["won"]))


class Native:
    def start(self, path: Path) -> Answer:
        self._play = Play(load_game(path))
        text, admissible, is_won = self._play.opening()
        return Answer(text, admissible, 0, False, is_won)  # stock scores steps only

    def step(self, command: str) -> Answer:
        text, admissible, is_won = self._play.step(command)
        return Answer(text, admissible, int(is_won), is_won, is_won)


@dataclass
class Result:
    num_steps: int
    differences: list[str]


def compare(
    path: Path, stock: Stock, plays: Sequence[str], num_random: int, rng: random.Random
) -> Result:
    """Stops a play at its first difference, as all that follows may stem from it."""
    walkthrough: list[str] = list(read_game(path).get("walkthrough") or ())
    steps, differences = 0, []
    for name in plays:
        count, difference = _play(path, stock, _Player(name, walkthrough, num_random, rng))
        steps += count
        if difference:
            differences.append(f"{path} ({name}), {difference}")
    return Result(steps, differences)


def _play(path: Path, stock: Stock, player: _Player) -> tuple[int, str | None]:
    native = Native()
    answers = [_started(engine, path) for engine in (stock, native)]
    done: list[str] = []
    if difference := _difference(*answers):
        return 0, f"opening: {difference}"
    if isinstance(answers[0], str):
        return 0, None  # neither engine plays it
    for command in player.commands(answers[0]):
        expected, found = stock.step(command), native.step(command)
        player.seen = expected
        done.append(command)
        if difference := _difference(expected, found):
            return len(done), f"after {done}: {difference}"
    return len(done), None


def _started(engine: Stock | Native, path: Path) -> Answer | str:
    try:
        return engine.start(path)
    except (Exception, SystemExit) as error:  # what stock raises for a broken game is not fixed
        return f"does not start: {error!r:.300}"


def _difference(expected: Answer | str, found: Answer | str) -> str | None:
    if isinstance(expected, str) or isinstance(found, str):
        is_same = isinstance(expected, str) and isinstance(found, str)
        return None if is_same else f"stock {expected!r:.300}, native {found!r:.300}"
    known, new = asdict(expected), asdict(found)
    missing = sorted(set(expected.admissible) - set(found.admissible))
    extra = sorted(set(found.admissible) - set(expected.admissible))
    if missing or extra:
        known["admissible"], new["admissible"] = f"also {missing}", f"also {extra}"
    parts = [(key, known[key], new[key]) for key in known if known[key] != new[key]]
    return "; ".join(f"{key}: stock {old!r}, native {now!r}" for key, old, now in parts) or None


@dataclass
class _Player:
    """Chooses commands from what the stock engine shows."""

    name: str
    walkthrough: list[str]
    num_random: int
    rng: random.Random
    seen: Answer | None = None

    def commands(self, opening: Answer) -> Iterator[str]:
        self.seen = opening
        if self.name == "random":
            yield from (self._any_command() for _ in range(self.num_random))
            return
        for command in self.walkthrough:
            if self.name == "detours":
                while self.rng.random() < 0.4:
                    yield self._any_command()
            yield command
        if self.name == "detours":
            yield from AFTER_THE_END
            yield self._any_command()

    def _any_command(self) -> str:
        admissible = self.seen.admissible if self.seen else ()
        command = self._admissible(admissible)
        chance = self.rng.random()
        if chance < 0.04:
            return self.rng.choice(UNKNOWN)
        if chance < 0.08:
            return self.rng.choice((command.upper(), command.capitalize(), f"{command}."))
        if chance < 0.12:
            return f"  {command} "
        if chance < 0.16:  # perhaps a thing that is elsewhere
            return command[:-1] + self.rng.choice("123")
        return command

    def _admissible(self, commands: tuple[str, ...]) -> str:
        """Verbs in equal parts, as most commands go somewhere; hands are filled and emptied."""
        verb = self.rng.choice(sorted({command.split()[0] for command in commands}))
        return self.rng.choice([command for command in commands if command.split()[0] == verb])


def main() -> int:
    options = _options()
    games = sorted(options.directory.expanduser().rglob(GAME))
    if not games:
        print(f"there is no {GAME} under {options.directory}", file=sys.stderr)
        return 2
    if options.games and options.games < len(games):
        games = sorted(random.Random(options.seed).sample(games, options.games))
    noted = _noted(options.resume)
    stock, waiting = Stock(), [game for game in games if str(game) not in noted]
    for game in track(waiting, "comparing", console=Console(stderr=True)):
        rng = random.Random(f"{options.seed} {game.parent.name}")
        result = compare(game, stock, options.plays, options.steps, rng)
        noted[str(game)] = result
        for difference in result.differences:
            print(difference, flush=True)
        if options.resume:
            with options.resume.open("a") as file:
                file.write(json.dumps({"game": str(game), **asdict(result)}) + "\n")
    results = [noted[str(game)] for game in games]
    differences = sum(len(result.differences) for result in results)
    num_steps = sum(result.num_steps for result in results)
    print(f"{len(results)} games, {num_steps} steps, {differences} differences")
    return 1 if differences else 0


def _noted(path: Path | None) -> dict[str, Result]:
    if path is None or not path.exists():
        return {}
    rows = map(json.loads, path.read_text().splitlines())
    return {row["game"]: Result(row["num_steps"], row["differences"]) for row in rows}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--games", type=int, default=0, help="0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plays", nargs="+", choices=PLAYS, default=PLAYS)
    parser.add_argument("--steps", type=int, default=50, help="of a random play")
    parser.add_argument("--resume", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
