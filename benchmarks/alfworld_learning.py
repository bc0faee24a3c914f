"""Learns ALFWorld from the policy that ships, with OPID, with OPID on
GiGPO and with GRPO, and draws what it wins.

    python -m benchmarks.alfworld_learning FOLDER [--seeds 0 1 2] [--released GAMES]
        [--picture PNG] [--overrides trainer.max_epochs=12 ...]

Runs of `fit conf=alfworld` on generated games, in FOLDER, one after another; what is finished
there is not run again. Their checkpoints then play the released valid_unseen games, where the
folder that holds json_2.1.1 is given. Prints a table with 95% intervals (Wilson, each run's own;
the last column is the mean over seeds with Student's interval).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from opid_lightning.training.success import Estimate, wilson

METHODS = {"grpo": "tab:blue", "opid": "tab:orange", "opid_gigpo": "tab:green"}
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5% quantiles, by number of seeds
EVERY = 4  # iterations between evaluations


@dataclass(frozen=True)
class Run:
    """One training, in its folder."""

    method: str
    seed: int
    folder: Path

    def fit(self, overrides: Sequence[str]) -> None:
        if (self.folder / "finished").exists():
            return
        arguments = [
            f"method={self.method}",
            f"seed_everything={self.seed}",
            f"trainer.default_root_dir={self.folder}",
            f"trainer.check_val_every_n_epoch={EVERY}",
            "callbacks.checkpoint.init_args.save_top_k=-1",
            f"callbacks.checkpoint.init_args.every_n_epochs={EVERY}",
            *overrides,
        ]
        if (self.folder / "checkpoints" / "last.ckpt").exists():
            arguments.append("ckpt_path=last")
        call("fit", arguments, self.folder / "fit.log")
        (self.folder / "finished").touch()

    def curve(self) -> dict[int, tuple[int, int]]:
        """Won and played on generated valid_unseen, by iteration; 0 is the warm start."""
        with (self.folder / "learning_curve.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "valid_unseen"]
        return {int(row["iteration"]): (int(row["won"]), int(row["played"])) for row in rows}

    def released(self, games: Path, overrides: Sequence[str]) -> dict[int, tuple[int, int]]:
        """Won and played on released valid_unseen, of the checkpoints."""
        found = {}
        for checkpoint in sorted((self.folder / "checkpoints").glob("epoch=*.ckpt")):
            iteration = int(checkpoint.stem.split("=")[1].split("-")[0]) + 1
            out = self.folder / "released" / str(iteration)
            found[iteration] = play(out, games, overrides, f"ckpt_path={checkpoint}")
        return found


def play(out: Path, games: Path, overrides: Sequence[str], *arguments: str) -> tuple[int, int]:
    """Won and played by `test` on the released games; kept in a file."""
    kept = out / "won.json"
    if not kept.exists():
        settings = [f"env.data={games}", f"trainer.default_root_dir={out}", *overrides, *arguments]
        call("test", settings, out / "test.log")
        newest = max(out.glob("test/*/metrics.csv"))  # folders are named by date
        with newest.open() as file:
            row = [row for row in csv.DictReader(file) if row.get("test/games")][-1]
        played = round(float(row["test/games"]))
        kept.write_text(json.dumps([round(float(row["test/success_micro"]) * played), played]))
    won, played = json.loads(kept.read_text())
    return won, played


def call(verb: str, arguments: Sequence[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "opid_lightning", verb, "conf=alfworld", *arguments]
    print(" ".join(command[2:]), file=sys.stderr, flush=True)
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    one_thread.pop("ALFWORLD_DATA", None)  # training games are generated
    with log.open("a") as file:
        subprocess.run(command, check=True, env=one_thread, stdout=file, stderr=subprocess.STDOUT)


Curves = dict[tuple[str, int], dict[int, tuple[int, int]]]  # (method, seed) -> iteration -> won


def by_iteration(curves: Curves, method: str) -> dict[int, list[tuple[int, int]]]:
    """The seeds' counts at the iterations that all of them reached."""
    found = [curve for (of, _), curve in curves.items() if of == method]
    shared = set.intersection(*(set(curve) for curve in found)) if found else set()
    return {iteration: [curve[iteration] for curve in found] for iteration in sorted(shared)}


def over_seeds(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Mean success and half of its 95% interval, with the seed as the unit (Student's t)."""
    rates = [won / played for won, played in counts]
    if len(rates) < 2:
        return rates[0], math.nan
    return mean(rates), STUDENT[len(rates)] * stdev(rates) / math.sqrt(len(rates))


def table(name: str, curves: Curves) -> str:
    lines = [f"{name} valid_unseen", f"{'method':12}{'iteration':>10}  {'each seed':28} mean, 95%"]
    for method in dict.fromkeys(method for method, _ in curves):
        for iteration, counts in by_iteration(curves, method).items():
            each = "  ".join(str(wilson_of(*count)) for count in counts)
            centre, half = over_seeds(counts)
            lines.append(f"{method:12}{iteration:>10}  {each}  {centre:.1%} ± {100 * half:.1f}")
    return "\n".join(lines)


def wilson_of(won: int, played: int) -> Estimate:
    return wilson(won / played, played)


def draw(curves: dict[str, Curves], path: Path) -> None:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (name, found) in zip(panels, curves.items(), strict=True):
        for method in dict.fromkeys(method for method, _ in found):
            colour = METHODS[method]
            for (of, _), curve in found.items():
                if of == method:
                    rates = [100 * won / played for _, (won, played) in sorted(curve.items())]
                    axes.plot(sorted(curve), rates, colour, linewidth=0.8, alpha=0.5)
            points = {i: over_seeds(counts) for i, counts in by_iteration(found, method).items()}
            means = [100 * centre for centre, _ in points.values()]
            halves = [0 if math.isnan(half) else 100 * half for _, half in points.values()]
            axes.errorbar(list(points), means, halves, color=colour, capsize=3, label=method)
        axes.set(title=f"{name} valid_unseen", xlabel="iteration", ylim=(0, 100))
    panels[0].set_ylabel("games won, %")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--released", type=Path, help="the folder that holds json_2.1.1")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--overrides", nargs="*", default=[])
    arguments = parser.parse_args()
    runs = [
        Run(method, seed, arguments.folder / f"{method}-{seed}")
        for seed in arguments.seeds
        for method in arguments.methods
    ]
    for run in runs:
        run.fit(arguments.overrides)
    curves = {"generated": {(run.method, run.seed): run.curve() for run in runs}}
    if arguments.released:
        start = play(arguments.folder / "start", arguments.released, arguments.overrides)
        curves["released"] = {
            (run.method, run.seed): {
                0: start,
                **run.released(arguments.released, arguments.overrides),
            }
            for run in runs
        }
    for name, found in curves.items():
        print(table(name, found), end="\n\n")
    if arguments.picture:
        draw(curves, arguments.picture)


if __name__ == "__main__":
    main()
