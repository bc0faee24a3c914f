"""HFExport: the trained policy in Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning

from opid_lightning.lm.loading.export import check_exports, export_adapter, export_policy


class HFExport(lightning.Callback):
    """Writes the policy to a folder when `fit` ends, so that `policy.path=FOLDER` loads it.

    An adapter is merged into it, and written beside it, to `adapter`, in peft's format. A run that
    is resumed writes both again. A run that is stopped early writes neither: resume it with
    `ckpt_path=last`, or export one of its checkpoints with `python -m opid_lightning export`.

    Args:
        folder: in the run's folder.
    """

    def __init__(self, folder: str = "policy") -> None:
        self.folder = folder

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Raises ValueError now, not after training, where the policy could not be saved."""
        if trainer.is_global_zero:
            check_exports(pl_module.policy)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Writes `policy/` and, with LoRA, `adapter/`. Collective: every rank takes part."""
        folder, writes = Path(trainer.default_root_dir) / self.folder, trainer.is_global_zero
        export_policy(pl_module.policy, folder, writes)
        base = pl_module.source.path
        export_adapter(pl_module.policy, base, folder.with_name("adapter"), writes)
        trainer.strategy.barrier()  # whoever loads it next finds all of it
