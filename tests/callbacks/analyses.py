"""SkillExtraction with an analyst that a test can follow."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lightning
import pytest

from opid_lightning.callbacks.skill_extraction import SkillExtraction
from opid_lightning.lm.policy import PolicySource
from opid_lightning.method.loss import Loss
from opid_lightning.method.method import Method
from opid_lightning.training.module import OPIDModule
from opid_lightning.types import Analysis, Hindsight, Skills, Trajectory, Usage
from tests.keydoor_run import OPID, keydoor_data

PAID = Usage(requests=1, prompt_tokens=10, completion_tokens=5, cost=0.5)


@dataclass
class NamingAnalyst:
    """Writes the trajectory's id as its skill; `answers` holds others, or errors, by id."""

    answers: dict[str, Analysis | Exception] = field(default_factory=dict)
    usage: Usage = PAID
    events: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    identity: str = "naming"

    def __post_init__(self) -> None:
        self.gate.set()

    def start(self) -> None:
        self.events.append("start")

    def close(self) -> None:
        self.events.append("close")

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        self.events.append(f"{trajectory.id} {list(candidates)}")
        assert self.gate.wait(timeout=60)
        answer = self.answers.get(trajectory.id, Analysis(Skills(trajectory.id, {}), usage=PAID))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def begin(tmp_path: Path):
    """`begin(callback)` has it start to fit; gives the trainer, about to play an iteration."""
    begun: list[tuple[SkillExtraction, lightning.Trainer]] = []

    def begin(
        callback: SkillExtraction, method: Method = OPID, iteration: int = 1
    ) -> lightning.Trainer:
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=tmp_path,
        )
        trainer.fit_loop.epoch_progress.current.processed = iteration - 1
        trainer.datamodule = keydoor_data(method)
        trainer.datamodule.trainer = trainer
        trainer.strategy.connect(OPIDModule(PolicySource("keydoor"), Loss()))
        begun.append((callback, trainer))
        callback.on_fit_start(trainer, trainer.lightning_module)
        return trainer

    yield begin
    for callback, trainer in begun:
        callback.teardown(trainer, trainer.lightning_module, "fit")


def play(
    callback: SkillExtraction, trainer: lightning.Trainer, *trajectories: Trajectory
) -> Hindsight:
    callback.on_stage_start(trainer, "rollout", len(trajectories))
    for trajectory in trajectories:
        callback.on_trajectory_end(trainer, trajectory)
    return callback.collect(trainer, trajectories)
