"""keydoor whose steps take their time; in a module of its own, for workers to import."""

from __future__ import annotations

import time
from dataclasses import dataclass

from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.protocols import Session
from opid_lightning.types import Observation, Opening, Task

STEP_S = 0.05


@dataclass(frozen=True)
class Slow(Keydoor):
    """keydoor whose steps take their time, as those that ask another machine do."""

    def open(self) -> Session:
        return SlowGame(super().open())


@dataclass(frozen=True)
class SlowWaiting(Slow):
    max_waiting: int = 64


@dataclass
class SlowGame:
    game: Session

    def reset(self, task: Task) -> Opening:
        return self.game.reset(task)

    def step(self, action: str) -> Observation:
        time.sleep(STEP_S)
        return self.game.step(action)

    def close(self) -> None:
        self.game.close()
