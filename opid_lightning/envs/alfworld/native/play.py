"""A game being played: commands in, scenes out."""

from __future__ import annotations

from bisect import bisect
from typing import NamedTuple

from opid_lightning.envs.alfworld.native import texts
from opid_lightning.envs.alfworld.native.game import Game
from opid_lightning.envs.alfworld.native.moves import ANYWHERE, CHANGES, Move, make, moves_here


class Scene(NamedTuple):
    """What a player sees after a command."""

    text: str
    admissible: tuple[str, ...]  # by letter, no command twice
    is_won: bool  # now; a goal can be met and lost again


class Play:
    """One attempt. Steps continue after a win, as in textworld."""

    def __init__(self, game: Game) -> None:
        self._game, self._state = game, game.start.copy()
        self._is_won = game.goal.is_met(self._state)
        self._look_for_moves()

    def opening(self) -> Scene:
        """The first scene, with the room and the task."""
        return self._scene(texts.opening(self._game, self._state))

    def step(self, command: str) -> Scene:
        """The scene after a command; one that is not admissible changes nothing."""
        move = self._move(command.strip())
        if move is None:
            return self._scene(texts.NOTHING_HAPPENS)
        make(self._game, self._state, move)
        if CHANGES[move[0]] & self._game.goal.predicates:
            self._is_won = self._game.goal.is_met(self._state)
        self._look_for_moves()
        return self._scene(texts.answer(self._game, self._state, move))

    def _move(self, command: str) -> Move | None:
        if (move := self._moves.get(command)) or (move := ANYWHERE.get(command)):
            return move
        place = self._game.go_to.get(command)
        if place is None or self._game.places[place] == self._state.location:
            return None
        return "go to", "", place

    def _look_for_moves(self) -> None:
        self._moves = moves_here(self._game, self._state)
        names = sorted([*self._moves, *ANYWHERE])
        split = bisect(names, "go to")  # no other command starts like this: they stay together
        ways = self._game.ways[self._state.location]
        self._admissible = (*names[:split], *ways, *names[split:])

    def _scene(self, text: str) -> Scene:
        return Scene(text, self._admissible, self._is_won)
