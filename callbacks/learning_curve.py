"""LearningCurve: success over the iterations, as a table, a picture and a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning

from opid_lightning.callbacks.curve import (
    ROLLOUTS,
    Point,
    curve_name,
    point_of,
    tables,
    write_points,
)
from opid_lightning.callbacks.curve_picture import draw
from opid_lightning.rollout.rollout import group_by_task
from opid_lightning.training.hooks import RolloutCallback, iteration_number
from opid_lightning.training.success import success_of
from opid_lightning.types import Experience


class LearningCurve(RolloutCallback):
    """Prints the curve when `fit` ends, and writes `learning_curve.png` and `.csv`.

    The file grows with every iteration. What a resumed run did before is kept in its checkpoints.
    """

    def __init__(self) -> None:
        self.points: list[Point] = []

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """Adds the success of the training rollout, as the point of split "rollouts"."""
        success = success_of(group_by_task(experience.trajectories).values())
        self.points.append(point_of(experience.iteration + 1, ROLLOUTS, success))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Adds a point for each evaluated split; the evaluation before training is iteration 0."""
        if trainer.state.fn != "fit":
            return
        iteration = 0 if trainer.sanity_checking else iteration_number(trainer) + 1
        for split, success in pl_module.evaluation_result.splits.items():
            name = curve_name(split, pl_module.evaluation_number)
            self.points.append(point_of(iteration, name, success))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Rewrites learning_curve.csv, so that a killed run leaves its curve."""
        if trainer.is_global_zero:
            write_points(self.points, Path(trainer.default_root_dir) / "learning_curve.csv")

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Also of a run that was killed when it had nothing left to train."""
        if trainer.is_global_zero and self.points:
            for table in tables(self.points):
                print(f"\n{table}")
            picture = Path(trainer.default_root_dir) / "learning_curve.png"
            draw(self.points, picture)
            print(f"\n{picture}, {picture.with_suffix('.csv')}")

    def state_dict(self) -> dict[str, Any]:
        """All points as plain values; a resumed run goes on with the same curve."""
        return {"points": [asdict(point) for point in self.points]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the points of a resumed run."""
        self.points = [Point(**values) for values in state_dict["points"]]
