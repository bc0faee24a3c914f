"""TrajectoryLog: every step of every trajectory as Parquet, to look at afterwards."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
import pyarrow as pa
import pyarrow.parquet as pq

from opid_lightning.training.evaluation import Played
from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.types import (
    SKILL_LEVELS,
    BatchPlan,
    Experience,
    Hindsight,
    RoutedStep,
    Sample,
    Skills,
    Step,
    Trajectory,
)
from opid_lightning.value_checks import check_range

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
    ("prompt_token_ids", pa.list_(pa.int32())),
    ("response_token_ids", pa.list_(pa.int32())),
    ("action", pa.string()),
    ("action_is_valid", pa.bool_()),
    ("response_is_cut", pa.bool_()),
    ("reward", pa.float32()),
    ("num_dropped_turns", pa.int32()),
    ("num_cut_characters", pa.int32()),
    ("sampler_logprobs", pa.list_(pa.float32())),
]
SAMPLE_FIELDS = [
    ("analysis", pa.string()),
    ("episode_skill", pa.string()),
    ("step_skill", pa.string()),
    ("route", pa.string()),
    ("scored_levels", pa.list_(pa.string())),
    ("over_budget", pa.list_(pa.string())),
    ("temperature", pa.float32()),
    ("optimizer_steps", pa.list_(pa.int32())),
    ("old_logprobs", pa.list_(pa.float32())),
    ("reference_logprobs", pa.list_(pa.float32())),
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
        check_range("trajectory_log.every_n_iterations", every_n_iterations, at_least=1)
        self.every_n_iterations = every_n_iterations

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """Writes train-NNNNNN.parquet every `every_n_iterations` iterations, a row per step."""
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
        """Writes a part of an evaluation; that before training is called "start"."""
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
        """Writes a part of the test set's trajectories."""
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
        """Writes a part of the trajectories that `predict` played."""
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
    """One row a step, with what hindsight, advantage and batching made of it."""
    optimizer_steps = optimizer_steps_of(experience.plan)
    rows = []
    for index, sample in enumerate(experience.samples):
        routed = sample.scored.routed
        rows.append(
            step_row(experience.iteration, routed.trajectory, routed.step, tokenizer)
            | skill_columns(experience.hindsight, routed)
            | score_columns(sample)
            | {"optimizer_steps": optimizer_steps[index], "temperature": experience.temperature}
        )
    return rows


def optimizer_steps_of(plan: BatchPlan) -> dict[int, list[int]]:
    """By row, the optimizer steps of the iteration that train on it: one an epoch of PPO."""
    steps: dict[int, list[int]] = defaultdict(list)
    for number, step in enumerate(plan):
        for row in itertools.chain.from_iterable(step):
            steps[row].append(number)
    return steps


def step_row(iteration: int, trajectory: Trajectory, step: Step, tokenizer: Any) -> dict[str, Any]:
    """The columns that every logged step has, trained on or not (docs/trajectories.md)."""
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
        "prompt_token_ids": list(step.prompt.token_ids),
        "response_token_ids": list(step.completion.token_ids),
        "action": step.action.text,
        "action_is_valid": step.action.is_valid,
        "response_is_cut": step.completion.is_cut,
        "reward": step.reward,
        "num_dropped_turns": step.prompt.num_dropped_turns,
        "num_cut_characters": step.prompt.num_cut_characters,
        "sampler_logprobs": list(step.completion.logprobs),
    }


def skill_columns(hindsight: Hindsight, routed: RoutedStep) -> dict[str, Any]:
    """Both skills that the analyst wrote for this step, whichever it was routed to."""
    skills = hindsight.skills.get(routed.trajectory.id, Skills("", {}))
    return {
        "analysis": hindsight.status(routed.trajectory.id),
        "episode_skill": skills.episode_skill,
        "step_skill": skills.step_skills.get(routed.step.index, ""),
        "route": routed.route.level,
        "scored_levels": [level for level in SKILL_LEVELS if level in routed.skill_prompt_ids],
        "over_budget": list(routed.over_budget),
    }


def score_columns(sample: Sample) -> dict[str, Any]:
    """Log-probs, deltas and advantage terms of a training step, a list per token."""
    scored = sample.scored
    reference = scored.reference_logprobs
    return {
        "old_logprobs": scored.old_logprobs.tolist(),
        "reference_logprobs": None if reference is None else reference.tolist(),
        "episode_delta": scored.delta("episode").tolist(),
        "step_delta": scored.delta("step").tolist(),
        "outcome_advantage": sample.outcome_advantage,
        "state_advantage": sample.state_advantage,
        "skill_advantage": sample.skill_advantage.tolist(),
    }
