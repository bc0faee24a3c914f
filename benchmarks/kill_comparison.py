"""Whether two runs left the same behind, bit for bit."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

LAST = Path("checkpoints") / "last.ckpt"


def differences(one: Path, other: Path) -> list[str]:
    """What differs, by name; nothing where the runs are equal."""
    first, second = (torch.load(run / LAST, weights_only=True) for run in (one, other))
    found = [
        name
        for name in ("state_dict", "optimizer_states", "epoch", "global_step", "loops")
        if not equal(first[name], second[name])
    ]
    if figures(one) != figures(other):
        found.append("metrics.csv")
    if (one / "learning_curve.csv").read_bytes() != (other / "learning_curve.csv").read_bytes():
        found.append("learning_curve.csv")
    if trajectories(one) != trajectories(other):
        found.append("trajectories")
    return found


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def figures(run: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, but for what differs from run to run of one seed.

    That is how long things took, and which analyses the run had from an iteration that was killed.
    """
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if not is_incidental(name)}
            for row in csv.DictReader(file)
        ]


def is_incidental(name: str) -> bool:
    return name.startswith("time/") or name.endswith("_s") or name == "analysis/cached"


def trajectories(run: Path) -> dict[str, Any]:
    return {path.name: pq.read_table(path) for path in (run / "trajectories").glob("*.parquet")}
