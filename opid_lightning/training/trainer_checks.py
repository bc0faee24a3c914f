"""Settings of Lightning's Trainer under which a run would not be what it seems."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import rank_zero_warn

from opid_lightning.types import BatchPlan
from opid_lightning.value_checks import check_range

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def check_precision(trainer: lightning.Trainer) -> None:
    """Raises for one in which weights do not move, or batches cannot be handed over."""
    if trainer.precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision is {trainer.precision}; expected one of {', '.join(PRECISIONS)}: "
            "weights stay in float32, as in half precision an update of 1e-6 would be rounded "
            "away. strategy=fsdp2 with trainer.strategy.parameter_dtype=bfloat16 gathers and "
            "computes in bfloat16."
        )


def check_trainer(trainer: lightning.Trainer) -> None:
    """Raises where the Trainer would train on old rollouts, or on other gradients than meant."""
    check_rollouts_are_whole(trainer)
    if trainer.accumulate_grad_batches != 1:
        raise ValueError(
            f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}; leave it at 1: "
            "it follows from batching.mini_batch_rows and batching.micro_batch_tokens."
        )
    check_range(
        "trainer.log_every_n_steps",
        trainer.log_every_n_steps,  # type: ignore[attr-defined]
        at_least=1,
        hint="0 would log no metric of training",
    )
    check_least(trainer)
    interval = trainer.val_check_interval
    is_of_epochs = isinstance(interval, float) and interval == 1.0  # the int 1 is every batch
    if not is_of_epochs or (trainer.check_val_every_n_epoch or 0) < 1:
        raise ValueError(
            "An evaluation is of finished iterations: set trainer.check_val_every_n_epoch to their "
            f"number, and leave trainer.val_check_interval at 1.0. They are "
            f"{trainer.check_val_every_n_epoch} and {interval!r}."
        )


def check_least(trainer: lightning.Trainer) -> None:
    """Raises for a least number that the run would end before."""
    for unit in ("epochs", "steps"):
        least, most = getattr(trainer, f"min_{unit}"), getattr(trainer, f"max_{unit}")
        check_range(f"trainer.min_{unit}", least, at_least=0, or_null=True)
        if least and most is not None and 0 <= most < least:
            raise ValueError(
                f"trainer.min_{unit} is {least}, but the run ends at trainer.max_{unit}={most}: "
                f"raise trainer.max_{unit}, or leave trainer.min_{unit} at null. It only keeps "
                "callbacks and trainer.max_time from ending a run sooner."
            )


def check_rollouts_are_whole(trainer: lightning.Trainer) -> None:
    """Raises where a part of an iteration's rows, or of its rollout, would be left out."""
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            f"trainer.fast_dev_run is {trainer.fast_dev_run}, by which only the beginning of an "  # type: ignore[attr-defined]
            "iteration would be trained on. For a short run set trainer.max_epochs=1, "
            "data.tasks_per_iteration and evaluation.num_tasks."
        )
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        raise ValueError(
            f"trainer.overfit_batches is {trainer.overfit_batches}; leave it at 0: each iteration "  # type: ignore[attr-defined]
            "plays anew. For fewer tasks lower data.tasks_per_iteration."
        )
    limit: int | float = trainer.limit_train_batches
    if not (isinstance(limit, float) and limit == 1.0):  # the int 1 is the first batch alone
        raise ValueError(
            f"trainer.limit_train_batches is {limit!r}; leave it at 1.0: the other rows that were "
            "played would not be trained on. Lower data.tasks_per_iteration instead."
        )
    reload_every: int = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]
    if reload_every != 1:
        raise ValueError(
            "Each epoch needs fresh rollouts: set trainer.reload_dataloaders_every_n_epochs to 1. "
            f"It is {reload_every}."
        )
    # The Trainer keeps this setting nowhere else.
    if trainer._accelerator_connector.use_distributed_sampler:
        raise ValueError(
            "trainer.use_distributed_sampler is True; set it to false: the data module shares "
            "rows and tasks out among ranks itself, and each would see a part of its part."
        )


def check_gradient_clipping(trainer: lightning.Trainer, is_sharding: bool) -> None:
    """Raises for a limit that would turn clipping off, or that sharded gradients do not have."""
    limit = trainer.gradient_clip_val
    check_range("trainer.gradient_clip_val", limit, at_least=0, or_null=True, hint="0 is none")
    algorithm = trainer.gradient_clip_algorithm
    if limit and algorithm not in (None, "norm") and is_sharding:
        raise ValueError(
            f"trainer.gradient_clip_algorithm is {algorithm.value}; expected norm: gradients "
            "of sharded weights are clipped by their norm alone."
        )


def check_trains(trainer: lightning.Trainer) -> None:
    """Raises where a run would end before its first iteration."""
    durations = [c._duration for c in trainer.callbacks if isinstance(c, Timer)]  # type: ignore[attr-defined]
    limits = {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
    for name, value in [*limits.items(), *(("max_time", seconds) for seconds in durations)]:
        if value == 0:
            shown = "00:00:00:00" if name == "max_time" else value
            raise ValueError(
                f"trainer.{name} is {shown}, which leaves nothing to train: raise it, or evaluate "
                "by the verb validate."
            )


def check_evaluation_is_whole(trainer: lightning.Trainer, stage: str) -> None:
    """Raises where Lightning would evaluate on the beginning of a set alone."""
    name = {"test": "limit_test_batches", "predict": "limit_predict_batches"}.get(
        stage, "limit_val_batches"
    )
    limit: int | float = getattr(trainer, name)
    is_whole = isinstance(limit, float) and limit == 1.0  # the int 1 is the first part
    if not is_whole and not (limit == 0 and stage == "fit"):
        raise ValueError(
            f"trainer.{name} is {limit!r}, by which only the beginning of an evaluation set "
            "would be played, or nothing. Set it to 1.0 (in fit also to 0, for no evaluation), "
            "without trainer.fast_dev_run; evaluation.num_tasks makes a smaller set of all types."
        )
    if stage == "fit" and limit and trainer.num_sanity_val_steps not in (0, float("inf")):
        raise ValueError(
            f"trainer.num_sanity_val_steps is {trainer.num_sanity_val_steps}: an evaluation is "
            "whole. Set it to -1 to evaluate before the first update, or to 0 not to."
        )


def check_rollout_temperature(temperature: float) -> None:
    """Raises where training would divide by 0."""
    check_range(
        "rollout.temperature",
        temperature,
        above=0,
        hint="training divides by it; evaluation.temperature=0 is greedy evaluation",
    )


def check_number_of_tasks(tasks_per_iteration: int, available: int, environment: object) -> None:
    """Raises where an iteration would need more different tasks than there are."""
    if tasks_per_iteration > available:
        raise ValueError(
            f"data.tasks_per_iteration is {tasks_per_iteration}, but "
            f"{type(environment).__name__} has only {available} training tasks: "
            "lower it, or give the environment more tasks."
        )


def warn_of_idle_ranks(plan: BatchPlan, num_ranks: int) -> None:
    """Says so where no optimizer step has a micro-batch for every rank."""
    most = max(sum(bool(rows) for rows in step) for step in plan)
    if most < num_ranks:
        rank_zero_warn(
            f"An optimizer step has {most} micro-batches at most, so that {num_ranks - most} of "
            f"{num_ranks} ranks train on nothing. Make micro-batches smaller "
            "(batching.micro_batch_tokens, batching.micro_batch_rows) or steps larger "
            "(batching.mini_batch_rows)."
        )
