"""Which tasks an iteration plays, and with what seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from opid_lightning.types import Task


def iteration_seed(seed: int, number: int) -> int:
    """The seed of an iteration; differs for all pairs with fewer than a million iterations."""
    return seed * 1_000_003 + number


def tasks_of_iteration(tasks: Sequence[Task], count: int, seed: int, number: int) -> list[Task]:
    """`count` different tasks; shuffled passes over all tasks follow one another.

    A function of seed and number alone, so that a resumed run continues where it was. What does
    not fill an iteration at the end of a pass is left out of that pass.
    """
    number_of_pass, index = divmod(number, len(tasks) // count)
    order = list(range(len(tasks)))
    random.Random(f"{seed} {number_of_pass}").shuffle(order)
    return [tasks[i] for i in order[index * count : (index + 1) * count]]
