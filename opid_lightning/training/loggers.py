"""Where metrics go: a file always, and W&B where it is asked for."""

from __future__ import annotations

import csv
import io
import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from opid_lightning.files.atomic import atomic_write
from opid_lightning.training.checkpoints.files import progress
from opid_lightning.training.wandb_key import has_wandb_key

ID = re.compile(rb"[\w-]{1,64}")  # W&B's own limit


class MetricsFile(Logger):
    """metrics.csv in the run's folder, one row a step; complete after every row.

    A run that is resumed keeps the rows of the steps before it. Lightning's own CSVLogger deletes
    them, and scatters what belongs to one step over several rows.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._folder = save_dir
        self._rows: list[dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """Blank: Lightning makes no folder of its own inside the run's."""
        return ""  # no folder of its own inside the run's

    @property
    def version(self) -> str:
        """Blank, for the same reason."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return self._folder

    @property
    def path(self) -> Path:
        """metrics.csv in the run's folder."""
        return Path(self._folder) / "metrics.csv"

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """config.yaml beside the file holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds to the row of this step and rewrites the file, on rank 0 alone."""
        assert step is not None, "Lightning always says which step"
        if self._rows is None:
            self._rows = self._rows_before(step)
        if not self._rows or int(self._rows[-1]["step"]) != step:
            self._rows.append({"step": step})
        self._rows[-1].update(metrics)
        self._write(self._rows)

    @rank_zero_only
    def resume_logging(self, metrics: dict[str, float], step: int) -> None:
        """Completes the row of this step, the last one of the run that this one resumes."""
        self._rows = self._rows_before(step + 1)
        self.log_metrics(metrics, step)

    def _rows_before(self, step: int) -> list[dict[str, Any]]:
        """Those of the run that this one resumes; its later steps are done again."""
        return [row for row in read_csv(self.path) if int(row["step"]) < step]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        names = sorted({name for row in rows for name in row} - {"step", "epoch"})
        write_csv(self.path, ["step", "epoch", *names], rows)


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows that `MetricsFile` wrote, none where there is no file; ValueError for others."""
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode()
        if not text.endswith("\n"):
            raise ValueError("its last line is not whole")
        header, *rows = csv.reader(io.StringIO(text, newline=""))
        for row in rows:
            int(row[header.index("step")])
        return [dict(zip(header, row, strict=True)) for row in rows]
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(
            f"{path} is damaged ({error}), and a run that resumes keeps its rows: put a copy of "
            "it in its place, or move it away to continue without them."
        ) from error


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces the file in one go, so that whoever reads it meanwhile sees whole rows."""
    with atomic_write(path, newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def pending_row(trainer: lightning.Trainer, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Metrics of the iteration that loggers do not have yet, for a checkpoint to hold.

    Lightning writes an iteration's checkpoint first and logs its metrics afterwards: a run that
    is killed in between would never log them.
    """
    current = progress(checkpoint)
    if current["processed"] == current["completed"]:
        return {}
    metrics = trainer._logger_connector.metrics["log"]
    values = {name: float(value) for name, value in metrics.items()}
    return {**values, "epoch": trainer.current_epoch}


def resume_logging(trainer: lightning.Trainer, row: dict[str, Any], step: int) -> None:
    """Logs the row that came with a checkpoint; W&B may have it already, in equal values."""
    for logger in trainer.loggers if row else ():
        log = logger.resume_logging if isinstance(logger, MetricsFile) else logger.log_metrics
        log(row, step)


class WeightsAndBiases(WandbLogger):
    """W&B in the run's folder; offline where no key is set, as asking for one would hang a job.

    A run that is resumed continues the same W&B run, whose id its folder keeps.
    `wandb sync FOLDER/wandb/offline-run-*` uploads an offline run later, part after part.

    Args:
        save_dir: the run's folder.
        project: the W&B project.
        name: how W&B shows the run; null is a name that W&B makes up.
    """

    def __init__(
        self, save_dir: str, project: str = "opid_lightning", name: str | None = None
    ) -> None:
        mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
        super().__init__(save_dir=save_dir, project=project, name=name, mode=mode)
        self._id_file = Path(save_dir) / "wandb" / "run_id"

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, under the id that the run's folder keeps."""
        if self._experiment is None:
            self._wandb_init["id"] = self._id = kept_id(self._id_file)
        return super().experiment


def kept_id(file: Path) -> str:
    """The id in the file, or a new one that is in it from now on."""
    if not file.exists():
        with atomic_write(file) as draft:
            draft.write(uuid.uuid4().hex[:8])
    kept = file.read_bytes()
    if not ID.fullmatch(kept):
        raise ValueError(
            f"{file} is damaged: {kept[:40]!r} is no id of a W&B run. Write the run's id into it, "
            "or remove it to begin another W&B run."
        )
    return kept.decode()
