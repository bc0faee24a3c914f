"""What a user says about worker processes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from opid_lightning.value_checks import LONGEST_S, check_range


@dataclass(frozen=True)
class Workers:
    """Worker processes, each of which holds one session; by default there are none.

    So many games are played at once, at most, however large `rollout.max_concurrent` is; to lose
    no speed, give it as many processes. They are forked from one that has imported everything.
    """

    num_processes: int = 0  # worker processes; 0: sessions live in the trainer's process
    step_timeout_s: float = 60.0  # time limit of a step
    # time limit of a reset; a process's first one opens its session, too
    reset_timeout_s: float = 300.0

    def __post_init__(self) -> None:
        check_range("workers.num_processes", self.num_processes, at_least=0, hint="0: none")
        for limit in ("step_timeout_s", "reset_timeout_s"):
            check_range(f"workers.{limit}", getattr(self, limit), above=0, at_most=LONGEST_S)
        for field in dataclasses.fields(self):
            if not self.num_processes and getattr(self, field.name) != field.default:
                raise ValueError(
                    f"workers.{field.name} is {getattr(self, field.name)}, but only a worker "
                    "process can be ended when it takes longer: set workers.num_processes, too"
                )
