"""What `fit` leaves in the run's folder before anything is trained."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

from opid_lightning.cli.checkpoint_folders import refuse_foreign, remember_folders, within
from opid_lightning.cli.config.composition import NOT_YAML, why_no_yaml
from opid_lightning.cli.config.names import Tree, leaves_of, short
from opid_lightning.cli.run_lock import locked
from opid_lightning.cli.starting import check_writable

CONFIG = "config.yaml"
OF_THE_PLACE = ("ckpt_path", "trainer.default_root_dir", "config")  # differ without meaning


class SaveConfig(SaveConfigCallback):
    """Saves the resolved configuration of `fit`, tells the loggers, and notes where checkpoints go.

    A run that goes on keeps the configuration that it was started with. All is in the run's own
    folder, wherever its first logger writes.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._held = ExitStack()

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Saves for `fit` alone; other verbs leave config.yaml as it is."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)

    def save_config(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Writes config.yaml, or config.resumed-TIME.yaml beside an earlier one."""
        folder = Path(trainer.default_root_dir)
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        if said := what_changed(folder, settings):
            rank_zero_info(said)
        if (folder / self.config_filename).exists() and not self.overwrite:
            self.config_filename = time.strftime("config.resumed-%Y-%m-%d_%H-%M-%S.yaml")
        folder.mkdir(parents=True, exist_ok=True)
        path = str(folder / self.config_filename)
        self.parser.save(self.config, path, skip_none=False, overwrite=True, multifile=False)
        for logger in trainer.loggers:
            logger.log_hyperparams(settings)

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """The callbacks know by now where they write."""
        run = Path(trainer.default_root_dir)
        folders = [
            Path(each.dirpath)
            for each in trainer.checkpoint_callbacks
            if isinstance(each, ModelCheckpoint) and each.dirpath and "://" not in str(each.dirpath)
        ]
        checkpoint = trainer.ckpt_path
        refuse_foreign(run, folders, None if checkpoint is None else str(checkpoint))
        for folder in folders:
            check_writable(folder, "callbacks.checkpoint.dirpath")
        if trainer.is_global_zero:
            self._hold([folder for folder in folders if within(run, folder).is_absolute()])
            remember_folders(run, folders)

    def _hold(self, folders: list[Path]) -> None:
        """Those outside the run's own folder, which is held already."""
        for folder in dict.fromkeys(folders):
            folder.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(folder))

    def teardown(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Gives the run's folder free."""
        self._held.close()

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Gives the run's folder free after an exception, when `teardown` is not called."""
        self._held.close()


def what_changed(folder: Path, settings: Tree) -> str:
    """How a run that resumes differs from what config.yaml says of it; empty where it does not."""
    if settings["ckpt_path"] is None:
        return ""
    places = [folder, Path(settings["ckpt_path"]).absolute().parent.parent]
    found = next((each / CONFIG for each in places if (each / CONFIG).is_file()), None)
    if found is None:
        return ""
    try:
        saved = yaml.safe_load(found.read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise ValueError("it holds no settings")
    except NOT_YAML as error:
        return (
            f"{found} is damaged ({why_no_yaml(error)}), so that settings which differ from it "
            "cannot be named. The run goes on with those of now."
        )
    was, now = plain(saved), plain(settings)
    changes = [
        f"{name} is {now.get(name)} (was {was.get(name)})"
        for name in dict.fromkeys([*now, *was])
        if now.get(name) != was.get(name)
    ]
    listed = ", ".join(changes)
    return f"Settings that differ from those in {found}: {listed}." if changes else ""


def plain(settings: Tree) -> Tree:
    """Every value by the name that users type."""
    return {
        short(key): value for key, value in leaves_of(settings) if short(key) not in OF_THE_PLACE
    }
