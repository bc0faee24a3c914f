"""Learns keydoor from scratch with GRPO and with OPID, and draws success over time.

    python benchmarks/keydoor.py OUT.png [--seeds 0 1 2]

Prints, for each run, the first iteration that won more than 90% of its attempts, and the seconds
that training had taken by then (rollout, hindsight, scoring and update of all iterations so far).
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

METHODS = ("grpo", "opid")
SOLVED = 0.9


@dataclass(frozen=True)
class Curve:
    """Success and the seconds spent, iteration by iteration."""

    method: str
    seed: int
    success: list[float]
    seconds: list[float]

    @property
    def solved_at(self) -> int | None:
        return next((i for i, rate in enumerate(self.success) if rate > SOLVED), None)


def train(method: str, seed: int, folder: Path) -> Curve:
    run = folder / f"{method}-{seed}"
    command = [sys.executable, "-m", "opid_lightning", "fit", "conf=keydoor"]
    settings = [
        f"method={method}",
        f"seed_everything={seed}",
        f"trainer.default_root_dir={run}",
        "trainer.limit_val_batches=0",
    ]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *settings], check=True, env=one_thread, stdout=subprocess.DEVNULL)
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/success_micro")]
    stages = ("rollout", "hindsight", "scoring", "update")
    elapsed, seconds = 0.0, []
    for row in rows:
        elapsed += sum(float(row[f"time/{stage}_s"]) for stage in stages)
        seconds.append(elapsed)
    return Curve(method, seed, [float(row["train/success_micro"]) for row in rows], seconds)


def report(curves: list[Curve]) -> None:
    print("method     seed  iterations to 90%  seconds to 90%  success of the last 5 iterations")
    for curve in curves:
        at = curve.solved_at
        solved = "not solved" if at is None else f"{at + 1:17d}  {curve.seconds[at]:14.1f}"
        last = sum(curve.success[-5:]) / len(curve.success[-5:])
        print(f"{curve.method:9s}  {curve.seed:4d}  {solved}  {last:33.1%}")


def draw(curves: list[Curve], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    colours = dict(zip(METHODS, ("tab:blue", "tab:orange"), strict=True))
    for curve in curves:
        label = curve.method.upper() if curve.seed == curves[0].seed else None
        axes.plot(curve.seconds, curve.success, colours[curve.method], label=label, alpha=0.7)
    axes.axhline(SOLVED, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="seconds of training on one core", ylabel="share of attempts won", ylim=(0, 1))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="where the plot goes, for example docs/keydoor.png")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    curves = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            for method in METHODS:
                print(f"training {method}, seed {seed} ...", file=sys.stderr)
                curves.append(train(method, seed, Path(folder)))
    report(curves)
    draw(curves, arguments.out)


if __name__ == "__main__":
    main()
