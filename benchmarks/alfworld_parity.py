"""Plays games on both ALFWorld engines and compares every text, command list, score and end.

    python -m benchmarks.alfworld_parity GAMES_DIRECTORY [--games N] [--seed S]

Each game under the directory (all, or N drawn by the seed) is played as its walkthrough says, as
it says with detours, and at random: see `--plays`. Detours and random steps take admissible
commands, and others: unknown ones, in wrong case, of another place, padded with spaces. Plays go
on after a win. Prints each difference, then the numbers; exits with 1 if there is any.
`--resume FILE` notes the games that are done, and passes them over the next time. The stock
engine parses the same templates and copies the same values over and over; here it does so once,
which is several times as fast and changes nothing else. `--plain` leaves it as it is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.alfworld_engines import Answer, Native, Stock, parsing_once
from opid_lightning.envs.alfworld.games import GAME, read_game

PLAYS = ("walkthrough", "detours", "random")
UNKNOWN = ("", "fly", "go to", "take", "open fridge", "put it down", "go to moon 1", "examine", "?")
AFTER_THE_END = ("look", "inventory", "help", "fly")


@dataclass
class Result:
    num_steps: int
    differences: list[str]
    stock_error: str | None = None  # why the stock engine does not start the game


def compare(
    path: Path, stock: Stock, plays: Sequence[str], num_random: int, rng: random.Random
) -> Result:
    """Stops a play at its first difference, as all that follows may stem from it."""
    walkthrough: list[str] = list(read_game(path).get("walkthrough") or ())
    steps, differences = 0, []
    for name in plays:
        try:
            opening = stock.start(path)
        except (Exception, SystemExit) as error:  # stock raises what it happens to trip over
            return Result(steps, differences, f"{error!r:.300}")
        player = _Player(name, walkthrough, num_random, rng, opening)
        count, difference = _play(path, stock, player)
        steps += count
        if difference:
            differences.append(f"{path} ({name}), {difference}")
    return Result(steps, differences)


def _play(path: Path, stock: Stock, player: _Player) -> tuple[int, str | None]:
    native = Native()
    try:
        opening = native.start(path)
    except ValueError as error:
        return 0, f"native does not start: {error!r}"
    if difference := _difference(player.seen, opening):
        return 0, f"opening: {difference}"
    done: list[str] = []
    for command in player.commands():
        player.seen, found = stock.step(command), native.step(command)
        done.append(command)
        if difference := _difference(player.seen, found):
            return len(done), f"after {done}: {difference}"
    return len(done), None


def _difference(expected: Answer, found: Answer) -> str | None:
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
    seen: Answer  # the last

    def commands(self) -> Iterator[str]:
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
        command = self._admissible(self.seen.admissible)
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
    with nullcontext() if options.plain else parsing_once():
        _compare_all([game for game in games if str(game) not in noted], noted, options)
    results = [noted[str(game)] for game in games]
    differences = sum(len(result.differences) for result in results)
    num_steps = sum(result.num_steps for result in results)
    if left_out := [result for result in results if result.stock_error]:
        print(f"{len(left_out)} of the games do not start on stock: {left_out[0].stock_error}")
    print(f"{len(results)} games, {num_steps} steps, {differences} differences")
    return 1 if differences else 0


def _compare_all(
    games: Sequence[Path], noted: dict[str, Result], options: argparse.Namespace
) -> None:
    stock = Stock()
    for game in track(games, "comparing", console=Console(stderr=True)):
        rng = random.Random(f"{options.seed} {game.parent.name}")
        noted[str(game)] = compare(game, stock, options.plays, options.steps, rng)
        for difference in noted[str(game)].differences:
            print(difference, flush=True)
        if options.resume:
            with options.resume.open("a") as file:
                file.write(json.dumps({"game": str(game), **asdict(noted[str(game)])}) + "\n")


def _noted(path: Path | None) -> dict[str, Result]:
    if path is None or not path.exists():
        return {}
    rows = map(json.loads, path.read_text().splitlines())
    return {
        row["game"]: Result(row["num_steps"], row["differences"], row.get("stock_error"))
        for row in rows
    }


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
    parser.add_argument("--plain", action="store_true", help="leave stock as it is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
