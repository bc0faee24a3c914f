"""The games that `play` can be given, by a number or a name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast, get_args

from opid_lightning.cli.errors import UsageError, nearest
from opid_lightning.gate import gate_of
from opid_lightning.protocols import Environment, Split
from opid_lightning.types import Task

SHOWN = 10  # of each split, to a person


@dataclass(frozen=True)
class Game:
    """A task, and the number by which it can be named."""

    number: int
    split: Split
    task: Task


def games_of(environment: Environment) -> tuple[Game, ...]:
    """Numbered from 1, one split after the other."""
    gate = gate_of(environment)
    splits: tuple[Split, ...] = get_args(Split)
    listed = [(s, task) for s in splits for task in gate.tasks(environment.tasks, s)]
    return tuple(Game(number, *each) for number, each in enumerate(listed, 1))


def print_games(games: Sequence[Game], out: TextIO, to_a_person: bool) -> None:
    """All of them as JSON, one a line; the first of each split where a person reads."""
    for line in readable(games) if to_a_person else map(record, games):
        print(line, file=out)


def record(game: Game) -> str:
    """A game as a JSON object on one line, for programs."""
    fields = {"game": game.number, "id": game.task.id, "kind": game.task.kind, "split": game.split}
    return json.dumps(fields, ensure_ascii=False)


def readable(games: Sequence[Game]) -> Iterator[str]:
    """The games of each split, at most `SHOWN` of them, for people."""
    width = len(str(len(games)))
    for split in dict.fromkeys(game.split for game in games):
        own = [game for game in games if game.split == split]
        yield f"{split}: {len(own)} games"
        yield from (f"  {g.number:>{width}}  {g.task.id}  ({g.task.kind})" for g in own[:SHOWN])
        if len(own) > SHOWN:
            yield f"  {'...':>{width}}  up to {own[-1].number}"
    yield "\nAdd game=NUMBER or game=NAME for the policy to play, and commands=- to play yourself."


def task_of(environment: Environment, game: str) -> Task:
    """The task of that name, file, number or part of a name, whichever fits first.

    An environment may know more games than it lists, by `task_from`.
    """
    find = getattr(environment, "task_from", None)
    if find is not None and Path(game).expanduser().exists():
        return cast(Task, find(game))
    games = games_of(environment)
    of_name = [each.task for each in games if each.task.id == game]
    of_number = [each.task for each in games if str(each.number) == game]
    of_part = [each.task for each in games if game in each.task.id]
    if of_name or of_number:
        return (of_name or of_number)[0]
    if len(of_part) == 1:
        return of_part[0]
    if find is not None and not of_part and not game.isdecimal():
        return cast(Task, find(game))
    raise UsageError(f"There is no game={game}. {advice(game, games, of_part)}")


def advice(game: str, games: Sequence[Game], of_part: Sequence[Task]) -> str:
    """How to name a game, after a name or number that is none."""
    if game.isdecimal():
        return f"Numbers go from 1 to {len(games)}; without game=, play lists them."
    if of_part:
        return nearest("", [task.id for task in of_part])
    return nearest(game, [each.task.id for each in games])
