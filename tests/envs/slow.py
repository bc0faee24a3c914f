"""keydoor that takes as long as a test needs to catch a run at what it is doing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import lightning

from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.protocols import Session
from opid_lightning.types import Observation, Opening, Task

HOUR_S = 3600.0


@dataclass
class HungGame:
    game: Session

    def reset(self, task: Task) -> Opening:
        return self.game.reset(task)

    def step(self, action: str) -> Observation:
        time.sleep(HOUR_S)
        return self.game.step(action)

    def close(self) -> None:
        self.game.close()


class Hung(Keydoor):
    """Its first step never ends."""

    def open(self) -> Session:
        return HungGame(super().open())


@dataclass
class MovingGame(HungGame):
    folder: str

    def reset(self, task: Task) -> Opening:
        os.chdir(self.folder)
        return self.game.reset(task)

    def step(self, action: str) -> Observation:
        return self.game.step(action)


@dataclass(frozen=True)
class Moving(Keydoor):
    """Its games work in a folder of their own."""

    folder: str = ""

    def open(self) -> Session:
        return MovingGame(super().open(), self.folder)


class SecondUpdateHangs(lightning.Callback):
    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            time.sleep(HOUR_S)
