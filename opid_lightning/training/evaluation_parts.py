"""The parts of an evaluation, played one after the other while weights are served once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from torch.utils.data import DataLoader

from opid_lightning.protocols import Generation, Split
from opid_lightning.training.evaluation import EvaluationSet, Played
from opid_lightning.types import Task

Part = tuple[Split, Sequence[Task]]


class ServedOnce:
    """Plays numbered parts with a generation that is made for the first and ends with the last.

    Weights do not move in between, and serving them costs a sync, and on a GPU a sleep and a wake.
    `open` holds what is served: whoever breaks an evaluation off closes it.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        play: Callable[[Part, Generation], Played],
        serving: Callable[[], AbstractContextManager[Generation]],
        open: ExitStack,
    ) -> None:
        self.parts, self.play, self.serving, self.open = parts, play, serving, open
        self._generation: Generation | None = None

    def __call__(self, index: int) -> Played:
        """The part of that number, played. An error in it ends the serving."""
        if index == 0 or self._generation is None:
            self.open.close()  # of an evaluation that was broken off
            self._generation = self.open.enter_context(self.serving())
        try:
            played = self.play(self.parts[index], self._generation)
        except BaseException:
            self._generation = None
            with self.open:  # which hears of the error
                raise
        if index + 1 == len(self.parts):
            self._generation = None
            self.open.close()
        return played


def loader_of(served: ServedOnce) -> DataLoader[Played]:
    """Parts are played when they are asked for, with the weights of when the first one is."""
    numbers = range(len(served.parts))
    return DataLoader(numbers, batch_size=None, collate_fn=served)  # type: ignore[arg-type]


def cost_of(sets: Sequence[EvaluationSet], attempts: int, max_response_tokens: int) -> str:
    """A line on what every evaluation plays."""
    tasks = sum(len(each.tasks) for each in sets)
    return (
        f"Each evaluation plays {tasks * attempts:,} attempts ({tasks:,} tasks, "
        f"evaluation.attempts={attempts}), with responses of at most {max_response_tokens} tokens "
        "a step."
    )
