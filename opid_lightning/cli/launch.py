"""Who started this process: Lightning for a further device, or a launcher of its own."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from opid_lightning.cli.errors import UsageError

LAUNCHERS = (TorchElasticEnvironment, SLURMEnvironment)


def is_first_process() -> bool:
    """Whether this is rank 0 of its run, as far as its environment says; alone, it is."""
    others = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
    if any(int(os.environ.get(name) or 0) for name in others):
        return False
    is_of_slurm = SLURMEnvironment.detect() and "RANK" not in os.environ
    return not is_of_slurm or int(os.environ.get("SLURM_PROCID") or 0) == 0


def is_one_of_many(num_nodes: int) -> bool:
    """Whether torchrun, SLURM or somebody by hand starts this run's processes, each on its own."""
    try:
        found = [launcher() for launcher in LAUNCHERS if launcher.detect()]
    except RuntimeError as error:  # Lightning's, on how SLURM was asked for processes
        raise UsageError(str(error)) from error
    return num_nodes > 1 or any(launcher.world_size() > 1 for launcher in found)


def check_folder_is_named(folder: str | None, num_nodes: int) -> None:
    """A folder named by the time of day would be another one for each process."""
    if is_one_of_many(num_nodes) and folder is None:
        raise UsageError(
            "This run's processes are started one by one, and have to write in one folder: name "
            "it by trainer.default_root_dir=FOLDER, the same for all of them."
        )
