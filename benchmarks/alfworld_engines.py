"""Both ALFWorld engines behind the same two methods, for benchmarks."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from opid_lightning.envs.alfworld.games import read_game
from opid_lightning.envs.alfworld.native.game import load_game
from opid_lightning.envs.alfworld.native.play import Play
from opid_lightning.envs.alfworld.stock import new_engine, translating_once


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


@contextmanager
def parsing_once() -> Iterator[None]:
    """Within, stock's parsers of templates and queries remember what a text parses to.

    Values that it never writes to, names of things among them, are not copied for every command.
    """
    textgen = importlib.import_module("textworld.envs.pddl.textgen")
    logic = importlib.import_module("textworld.logic")
    game = importlib.import_module("textworld.generator.game")
    values = (logic.Variable, logic.Placeholder, game.EntityInfo)
    parse, parse_query = textgen._parse_and_convert, logic.Rule.parse_conjunctive_query
    remembered = lru_cache(maxsize=10_000)(lambda text, name: parse(text, rule_name=name))
    # Copied, as the engine writes into what it gets.
    textgen._parse_and_convert = lambda text, rule_name, **_: deepcopy(remembered(text, rule_name))
    logic.Rule.parse_conjunctive_query = staticmethod(lru_cache(maxsize=1_000)(parse_query))
    for value in values:
        value.__deepcopy__ = lambda self, _: self
    try:
        yield
    finally:
        textgen._parse_and_convert = parse
        logic.Rule.parse_conjunctive_query = staticmethod(parse_query)
        for value in values:
            del value.__deepcopy__


class Native:
    def start(self, path: Path) -> Answer:
        self._play = Play(load_game(path))
        text, admissible, is_won = self._play.opening()
        return Answer(text, admissible, 0, False, is_won)  # stock scores steps only

    def step(self, command: str) -> Answer:
        text, admissible, is_won = self._play.step(command)
        return Answer(text, admissible, int(is_won), is_won, is_won)
