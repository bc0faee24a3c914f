"""The reward of a game, paid once."""

from __future__ import annotations

from opid_lightning.types import Observation


class Winning:
    """Engines call a game won while its goal is met, which a later move may undo."""

    def __init__(self, reward: float) -> None:
        self._reward = reward
        self._has_won = False

    def observe(self, text: str, admissible: tuple[str, ...], is_won: bool) -> Observation:
        """The observation.

        The reward comes with the first win, and the game is done from then on.
        """
        is_first = is_won and not self._has_won
        self._has_won = self._has_won or is_won
        return Observation(
            text, admissible, self._reward if is_first else 0.0, self._has_won, self._has_won
        )
