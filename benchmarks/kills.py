"""Kills a run again and again, and compares what comes of it with a run that nobody killed.

    python -m benchmarks.kills FOLDER [--kills 20] [--conf keydoor] [--ranks 1] [--seed 0]

Each kill is a SIGKILL at a random moment: so many phases after the run went on, and then at a
random part of that phase's usual length. Of two ranks, one or both are killed, and what is left
has to end by itself. Then the same command, with ckpt_path=last, goes on. Once enough kills
were dealt, the run is let finish; where it finishes before, another one is begun.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.kill_comparison import differences

SETTINGS = {
    "keydoor": (
        "trainer.check_val_every_n_epoch=3",
        "data.tasks_per_iteration=3",
        "rollout.group_size=2",
        "batching.mini_batch_rows=16",
        "evaluation.num_tasks=6",
    ),
    "alfworld": (
        "trainer.check_val_every_n_epoch=3",
        "data.tasks_per_iteration=2",
        "rollout.group_size=2",
        "env.max_steps=4",
        "evaluation.num_tasks=4",
    ),
}
PHASES_AN_ITERATION = 6  # rollout, hindsight, scoring, update, checkpoint; sometimes evaluation
PATIENCE_S = 120.0  # for what is left of a run to end by itself
POLL_S = 0.0005


@dataclass(frozen=True)
class Command:
    """The run, as it is started and as it goes on."""

    conf: str
    iterations: int
    ranks: int
    overrides: tuple[str, ...] = ()

    def start(self, folder: Path, *more: str) -> subprocess.Popen[bytes]:
        ranks = ("strategy=ddp", f"trainer.devices={self.ranks}") if self.ranks > 1 else ()
        settings = (
            *SETTINGS[self.conf],
            "trainer.accelerator=cpu",
            f"trainer.max_epochs={self.iterations}",
            f"trainer.default_root_dir={folder}",
            "~callbacks.progress_bar",
            "trainer.enable_progress_bar=false",
            "callbacks.phases.class_path=benchmarks.kill_phases.PhaseLog",
            *ranks,
            *self.overrides,
            *more,
        )
        command = [sys.executable, "-m", "opid_lightning", "fit", f"conf={self.conf}", *settings]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "fit.log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )


@dataclass(frozen=True)
class Phase:
    pid: int
    began: float
    name: str


def phases_of(folder: Path, rank: int = 0) -> list[Phase]:
    path = folder / f"phases-{rank}.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Phase(int(pid), float(at), name) for pid, at, name in map(str.split, lines)]


def usual_lengths(phases: Sequence[Phase]) -> dict[str, float]:
    """Mean seconds of each phase of an uninterrupted run."""
    seconds: dict[str, list[float]] = {}
    for phase, after in pairwise(phases):
        seconds.setdefault(phase.name, []).append(after.began - phase.began)
    return {name: sum(lengths) / len(lengths) for name, lengths in seconds.items()}


@dataclass
class Tally:
    """What the kills hit."""

    phases: Counter[str] = field(default_factory=Counter)
    victims: Counter[str] = field(default_factory=Counter)
    drafts: int = 0  # half-written checkpoints found after a kill
    hung: int = 0  # what was left did not end by itself


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.wait() != 0:
        raise SystemExit(
            f"exit code {process.returncode}; the end of {folder / 'fit.log'}:\n"
            + (folder / "fit.log").read_text()[-3000:]
        )


def kill_once(
    process: subprocess.Popen[bytes],
    folder: Path,
    lengths: dict[str, float],
    ranks: int,
    draw: random.Random,
    tally: Tally,
) -> bool:
    """Whether the run lived long enough to be killed."""
    wanted = len(phases_of(folder)) + draw.randint(1, PHASES_AN_ITERATION + 2)
    part = draw.random()
    victim = draw.choice(["all", *range(ranks)]) if ranks > 1 else "all"
    while len(phases := phases_of(folder)) < wanted:
        if process.poll() is not None:
            finish(process, folder)
            return False
        time.sleep(POLL_S)
    time.sleep(part * lengths.get(phases[wanted - 1].name, 0.0))
    if process.poll() is not None:
        finish(process, folder)
        return False
    if victim == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(phases_of(folder, int(victim))[-1].pid, signal.SIGKILL)
    tally.hung += not ends_by_itself(process)
    tally.phases[phases_of(folder)[-1].name] += 1
    tally.victims["all ranks" if victim == "all" else f"rank {victim}"] += 1
    tally.drafts += any((folder / "checkpoints").glob(".draft-*"))
    return True


def ends_by_itself(process: subprocess.Popen[bytes]) -> bool:
    """Waits until no process of the run is left; kills what does not end."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--conf", choices=SETTINGS, default="keydoor")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, help="of the run; by default enough for all")
    parser.add_argument("overrides", nargs="*", help="settings of both runs")
    chosen = parser.parse_args()
    iterations = chosen.iterations or chosen.kills // 2 + 3
    command = Command(chosen.conf, iterations, chosen.ranks, tuple(chosen.overrides))
    straight = chosen.folder / "uninterrupted"
    finish(command.start(straight), straight)
    lengths = usual_lengths(phases_of(straight))
    draw, tally, found = random.Random(chosen.seed), Tally(), dict[str, list[str]]()
    while tally.phases.total() < chosen.kills or not found:
        folder = chosen.folder / f"killed-{len(found)}"
        while tally.phases.total() < chosen.kills:
            process = command.start(folder, "ckpt_path=last")
            if not kill_once(process, folder, lengths, chosen.ranks, draw, tally):
                break
        else:
            finish(command.start(folder, "ckpt_path=last"), folder)
        found[folder.name] = differences(straight, folder)
    report(tally, iterations, found)


def report(tally: Tally, iterations: int, found: dict[str, list[str]]) -> None:
    print(f"{tally.phases.total()} kills, {len(found)} run(s) of {iterations} iterations")
    for name, number in tally.phases.most_common():
        print(f"  during {name:<12}{number:3d}")
    for name, number in tally.victims.items():
        print(f"  of {name:<16}{number:3d}")
    print(
        f"half-written checkpoints left behind: {tally.drafts}; processes that hung: {tally.hung}"
    )
    for name, differing in found.items():
        print(
            f"{name} equals uninterrupted: {'no: ' + '; '.join(differing) if differing else 'yes'}"
        )
    if tally.hung or any(found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
