"""HFExport: the trained policy in Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning

from opid_lightning.lm.export import export_policy


class HFExport(lightning.Callback):
    """Writes the policy to a folder when `fit` ends, so that `policy.path=FOLDER` loads it.

    A run that goes on writes it again. Where a run is stopped before its end there is none: go on
    with `ckpt_path=last`.

    Args:
        folder: in the run's folder.
    """

    def __init__(self, folder: str = "policy") -> None:
        self.folder = folder

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        folder = Path(trainer.default_root_dir) / self.folder
        export_policy(pl_module.policy, folder, writes=trainer.is_global_zero)
        trainer.strategy.barrier()  # whoever loads it next finds all of it
