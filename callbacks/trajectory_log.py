"""TrajectoryLog: every step of every trajectory as Parquet, to look at afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
import pyarrow as pa
import pyarrow.parquet as pq

from opid_lightning.evaluation import Played
from opid_lightning.hooks import RolloutCallback
from opid_lightning.types import Experience, Sample, Step, Trajectory

STEP_FIELDS = [
    ("iteration", pa.int32()),
    ("task_id", pa.string()),
    ("task_kind", pa.string()),
    ("attempt", pa.int32()),
    ("step", pa.int32()),
    ("goal", pa.string()),
    ("won", pa.bool_()),
    ("observation", pa.string()),
    ("prompt", pa.string()),
    ("response", pa.string()),
    ("response_tokens", pa.list_(pa.string())),
    ("action", pa.string()),
    ("action_is_valid", pa.bool_()),
    ("response_is_cut", pa.bool_()),
    ("reward", pa.float32()),
    ("num_dropped_turns", pa.int32()),
    ("sampler_logprobs", pa.list_(pa.float32())),
]
SAMPLE_FIELDS = [
    ("analysis", pa.string()),
    ("episode_skill", pa.string()),
    ("step_skill", pa.string()),
    ("route", pa.string()),
    ("old_logprobs", pa.list_(pa.float32())),
    ("episode_delta", pa.list_(pa.float32())),
    ("step_delta", pa.list_(pa.float32())),
    ("outcome_advantage", pa.float32()),
    ("state_advantage", pa.float32()),
    ("skill_advantage", pa.list_(pa.float32())),
]
# Documented column by column in docs/trajectories.md.
TRAINING_SCHEMA = pa.schema([*STEP_FIELDS, *SAMPLE_FIELDS])
EVALUATION_SCHEMA = pa.schema(STEP_FIELDS)


class TrajectoryLog(RolloutCallback):
    """Writes `trajectories/<stage>-<iteration>.parquet` into the run's folder, a row a step.

    Args:
        every_n_iterations: of training, which iterations are written; evaluations all are.
    """

    def __init__(self, every_n_iterations: int = 1) -> None:
        if every_n_iterations < 1:
            raise ValueError(
                f"trajectory_log.every_n_iterations is {every_n_iterations}; expected 1 or more."
            )
        self.every_n_iterations = every_n_iterations

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        if experience.iteration % self.every_n_iterations == 0:
            rows = training_rows(experience, trainer.lightning_module.tokenizer)
            self._write(trainer, f"train-{experience.iteration:06d}", rows, TRAINING_SCHEMA)

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        loader: int = 0,
    ) -> None:
        stage = "start" if trainer.sanity_checking else "validation"
        self._write_evaluation(trainer, pl_module, stage, batch, batch_idx)

    def on_test_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        loader: int = 0,
    ) -> None:
        self._write_evaluation(trainer, pl_module, "test", batch, batch_idx)

    def on_predict_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        loader: int = 0,
    ) -> None:
        self._write_evaluation(trainer, pl_module, "predict", batch, batch_idx)

    def _write_evaluation(
        self, trainer: Any, pl_module: Any, stage: str, batch: Played, part: int
    ) -> None:
        iteration = trainer.current_epoch
        rows = [
            step_row(iteration, trajectory, step, pl_module.tokenizer)
            for trajectory in batch.trajectories
            for step in trajectory.steps
        ]
        self._write(trainer, f"{stage}-{iteration:06d}-{part:03d}", rows, EVALUATION_SCHEMA)

    def _write(
        self, trainer: lightning.Trainer, name: str, rows: Iterable[dict[str, Any]], schema: Any
    ) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "trajectories"
        folder.mkdir(parents=True, exist_ok=True)
        half_written = folder / f".{name}.parquet.part"
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), half_written)
        os.replace(half_written, folder / f"{name}.parquet")


def training_rows(experience: Experience, tokenizer: Any) -> list[dict[str, Any]]:
    """One row a step, with what hindsight and advantage made of it."""
    return [
        step_row(
            experience.iteration,
            sample.scored.routed.trajectory,
            sample.scored.routed.step,
            tokenizer,
        )
        | sample_columns(experience, sample)
        for sample in experience.samples
    ]


def step_row(iteration: int, trajectory: Trajectory, step: Step, tokenizer: Any) -> dict[str, Any]:
    return {
        "iteration": iteration,
        "task_id": trajectory.task.id,
        "task_kind": trajectory.task.kind,
        "attempt": trajectory.attempt,
        "step": step.index,
        "goal": trajectory.goal,
        "won": trajectory.won,
        "observation": step.observation.text,
        "prompt": step.prompt.text.text,
        "response": step.completion.text,
        "response_tokens": [tokenizer.decode([token]) for token in step.completion.token_ids],
        "action": step.action.text,
        "action_is_valid": step.action.is_valid,
        "response_is_cut": step.completion.is_cut,
        "reward": step.reward,
        "num_dropped_turns": step.prompt.num_dropped_turns,
        "sampler_logprobs": list(step.completion.logprobs),
    }


def sample_columns(experience: Experience, sample: Sample) -> dict[str, Any]:
    scored, route = sample.scored, sample.scored.routed.route
    return {
        "analysis": experience.hindsight.status(scored.routed.trajectory.id),
        "episode_skill": route.episode_skill,
        "step_skill": route.step_skill,
        "route": route.level,
        "old_logprobs": scored.old_logprobs.tolist(),
        "episode_delta": scored.delta("episode").tolist(),
        "step_delta": scored.delta("step").tolist(),
        "outcome_advantage": sample.outcome_advantage,
        "state_advantage": sample.state_advantage,
        "skill_advantage": sample.skill_advantage.tolist(),
    }
