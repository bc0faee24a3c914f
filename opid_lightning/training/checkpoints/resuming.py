"""What checkpoints hold beside weights and Lightning's own, and how a run goes on from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info

from opid_lightning.training.checkpoints import evaluation_record, optimizer_record, policy_record
from opid_lightning.training.checkpoints.files import check_resumes, nothing_left
from opid_lightning.training.loggers import pending_row, resume_logging

if TYPE_CHECKING:
    from opid_lightning.training.module import OPIDModule

ROW = "pending_row"  # in a checkpoint: of the metrics, which later callbacks complete


def records_of(module: OPIDModule, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a run that resumes from the checkpoint has to know, by name."""
    return {
        policy_record.KEY: module.policy_record,
        ROW: pending_row(module.trainer, checkpoint),
        optimizer_record.KEY: optimizer_record.record_of(
            module.trainer.optimizers[0], module.optimizer_settings
        ),
        evaluation_record.KEY: {
            "number": module.evaluation_number,
            "settings": module.evaluation_settings,
        },
    }


def check_run_resumes(module: OPIDModule, checkpoint: Mapping[str, Any]) -> None:
    """Raises where `fit` cannot go on from it."""
    assert module.run_end is not None
    if not isinstance(checkpoint.get(ROW), dict):
        raise ValueError(
            "The checkpoint is none that fit wrote: it lacks the last row of the metrics. Name one "
            "of a run's folder, or start a new run from its weights by policy.path=FOLDER."
        )
    check_resumes(checkpoint, module.trainer.max_epochs, module.run_end.max_steps)
    if found := optimizer_record.record_in(checkpoint):
        optimizer_record.check_continues(found, own_optimizer(module), module.optimizer)


def own_optimizer(module: OPIDModule) -> optimizer_record.Record:
    """The record of the optimizer that this run would make."""
    return optimizer_record.record_of(module.configure_optimizers(), module.optimizer_settings)


def resume(module: OPIDModule, checkpoint: Mapping[str, Any]) -> None:
    """Goes on from it: its evaluation before the first update is behind the run."""
    trainer = module.trainer
    assert module.run_end is not None
    trainer.num_sanity_val_steps = 0
    module.run_end.limit_steps(trainer, checkpoint["global_step"])
    notes = [
        nothing_left(checkpoint, trainer.max_epochs, module.run_end.max_steps),
        policy_record.what_changed(checkpoint, module.policy_record),
        resumed_evaluation(module, checkpoint),
    ]
    if found := optimizer_record.record_in(checkpoint):
        notes.append(optimizer_record.what_changed(found, own_optimizer(module)))
    for note in filter(None, notes):
        rank_zero_info(note)
    resume_logging(trainer, checkpoint[ROW], checkpoint["global_step"] - 1)


def resumed_evaluation(module: OPIDModule, checkpoint: Mapping[str, Any]) -> str:
    """Counts a new one where scores cannot be compared any more; what there is to say about it."""
    found = checkpoint.get(evaluation_record.KEY)
    if found is None:  # of an older version
        return ""
    module.evaluation_number = found["number"]
    if not module.evaluation_settings:
        module.evaluation_settings = found["settings"]
    changes = evaluation_record.differing(found["settings"], module.evaluation_settings)
    module.evaluation_number += bool(changes)
    return evaluation_record.what_changed(changes)
