"""Where metrics go: a file always, and W&B where it is asked for."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from opid_lightning.wandb_key import has_wandb_key


class MetricsFile(Logger):
    """metrics.csv in the run's folder, one row a step; complete after every row.

    A run that goes on keeps the rows of the steps before it. Lightning's own CSVLogger deletes
    them, and scatters what belongs to one step over several rows.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._folder = save_dir
        self._rows: list[dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        return ""  # no folder of its own inside the run's

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return self._folder

    @property
    def path(self) -> Path:
        return Path(self._folder) / "metrics.csv"

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """config.yaml beside the file holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None, "Lightning always says which step"
        if self._rows is None:
            self._rows = self._rows_before(step)
        if not self._rows or int(self._rows[-1]["step"]) != step:
            self._rows.append({"step": step})
        self._rows[-1].update(metrics)
        self._write(self._rows)

    def _rows_before(self, step: int) -> list[dict[str, Any]]:
        """Those of the run that this one goes on with; its later steps are done again."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return [row for row in csv.DictReader(file) if int(row["step"]) < step]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        names = sorted({name for row in rows for name in row} - {"step", "epoch"})
        write_csv(self.path, ["step", "epoch", *names], rows)


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces the file in one go, so that whoever reads it meanwhile sees whole rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".csv.unfinished")
    with unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, path)


class WeightsAndBiases(WandbLogger):
    """W&B in the run's folder; offline where no key is set, as asking for one would hang a job.

    `wandb sync FOLDER/wandb/offline-run-*` uploads an offline run later.
    """

    def __init__(
        self, save_dir: str, project: str = "opid_lightning", name: str | None = None
    ) -> None:
        mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
        super().__init__(save_dir=save_dir, project=project, name=name, mode=mode)
