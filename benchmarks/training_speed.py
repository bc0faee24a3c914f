"""Scoring and training against this machine's ceiling, the reference's shape of work, and TRL.

    OMP_NUM_THREADS=1 python -m benchmarks.training_speed [--policy smollm2] [--trl-python PATH]

padded      ours, rows side by side
shared      ours, batching.share_prefixes=true
reference   rows padded to the longest prompt and response, logits everywhere, always entropies
trl         GRPOTrainer's loss and backward, in TRL's own environment (pip install trl datasets)

Tokens are nominal, those of every prompt and response, whatever a way computes of them. The ceiling
is the rate of the policy's own matrix products by themselves, forward, or forward and both
gradients; its share counts the work on the tokens that a way computes, attention to what is visible
included. Ways take turns, each in a process of its own; on one thread, seconds are the processor's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.played_rows import played_games, rows_of
from benchmarks.training_rows import Rows, group_of_one_prompt
from benchmarks.training_ways import WAYS, Ours, seconds
from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.lm.loading.model_folder import model_folder
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.types import Policy

MODES = ("scoring", "training")
CEILING_TOKENS = 1024  # at a time: wide enough for any matrix product's full speed


@dataclass(frozen=True)
class Case:
    """What all ways are given."""

    mode: str
    precision: str
    model: str
    path: Path

    def run(self, way: str, repeats: int, trl_python: str | None) -> dict[str, Any]:
        """Its seconds and its peak memory."""
        trl = [trl_python or "", str(Path(__file__).with_name("training_ways_trl.py"))]
        start = trl if way == "trl" else [sys.executable, "-m", "benchmarks.training_ways"]
        words = [way, self.mode, self.precision, self.model, str(self.path), str(repeats)]
        done = subprocess.run([*start, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{way} failed at {self}: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])


def ceiling(policy: Policy, mode: str, precision: str) -> float:
    """Operations a second in the matrix products of the policy's layers, each shape once."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shapes = {tuple(layer.weight.shape) for layer in linears(policy)}
    work = taken = 0.0
    for num_out, num_in in shapes:
        x, w, g = (
            torch.randn(size, dtype=dtype)
            for size in ((CEILING_TOKENS, num_in), (num_out, num_in), (CEILING_TOKENS, num_out))
        )
        products = [lambda x=x, w=w: x @ w.T]
        if mode == "training":
            products += [lambda g=g, w=w: g @ w, lambda g=g, x=x: g.T @ x]
        # By how often the shape occurs in the policy, and long enough to be timed.
        count = sum(layer.weight.shape == w.shape for layer in linears(policy))
        for product in products:
            product()
            start = seconds()
            for _ in range(3):
                product()
            taken += (seconds() - start) / 3 * count
            work += 2.0 * x.shape[0] * num_in * num_out * count
    return work / taken


def linears(policy: Policy) -> list[torch.nn.Linear]:
    return [layer for layer in policy.model.modules() if isinstance(layer, torch.nn.Linear)]


def work_of(way: Ours, mode: str) -> float:
    """Operations that its tokens need: head where responses are predicted, attention to what
    each token sees."""
    head = way.policy.model.get_output_embeddings().weight.numel()  # type: ignore[operator]
    body = sum(layer.weight.numel() for layer in linears(way.policy)) - head
    config: Any = way.policy.model.config
    width = config.num_hidden_layers * config.hidden_size
    total = 0.0
    for inputs in way.inputs():
        is_real = torch.ones_like(inputs.input_ids)
        if inputs.attention_mask.ndim == 2:
            is_real = inputs.attention_mask
        seen = ((inputs.position_ids + 1) * is_real).sum().item()
        used = inputs.predictors.unique().numel()
        total += 2.0 * (int(is_real.sum()) * body + used * head) + 4.0 * width * seen
    return total * (3 if mode == "training" else 1)


def compare(policy: Policy, case: Case, rows: Rows, given: argparse.Namespace) -> None:
    ways = [*WAYS, *(["trl"] if given.trl_python else [])]
    taken: dict[str, list[float]] = defaultdict(list)
    peaks: dict[str, float] = {}
    rates: list[float] = []
    for _ in range(given.rounds):
        for way in ways:
            rates.append(ceiling(policy, case.mode, case.precision))
            found = case.run(way, given.repeats, given.trl_python)
            taken[way] += found["seconds"]
            peaks[way] = found["peak_gib"]
    limit = median(rates)
    ours = {way: WAYS[way](policy, rows) for way in ("padded", "shared")}
    speed = {way: rows.num_tokens / median(values) for way, values in taken.items()}
    for way in ways:
        share = "-"
        if way in ours:
            share = f"{work_of(ours[way], case.mode) / median(taken[way]) / limit:.0%}"  # type: ignore[arg-type]
        against = " | ".join(
            f"{speed[way] / speed[other]:.1f}" if other in speed else "-"
            for other in ("reference", "trl")
        )
        print(
            f"| {case.path.stem} | {case.mode} | {case.precision} | {way} | {speed[way]:.0f} | "
            f"{against} | {share} | {peaks[way]:.1f} | {limit / 1e9:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--policy", default="smollm2")
    parser.add_argument("--trl-python", help="python of an environment that has trl; else left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="within one round")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--rows", nargs="+", default=["group", "games"], help="and how many: games")
    parser.add_argument("--game-rows", type=int, default=16, help="a multiple of 8")
    given = parser.parse_args()
    if given.game_rows % 8:
        parser.error(f"--game-rows is {given.game_rows}, expected a multiple of 8")
    if not given.trl_python:
        print("TRL is left out: give --trl-python PATH, of an environment that has trl, datasets")
    model = model_folder(given.policy)
    policy = load_policy(PolicySource(model))
    is_small = given.policy == "small"
    environment = ALFWorld(prompt_style="brief", history_length=30) if is_small else ALFWorld()
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            "group": lambda: group_of_one_prompt(len(policy.tokenizer)),
            "games": lambda: rows_of(played_games(policy, environment, 3, 4), given.game_rows),
        }
        print(f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, {given.policy}\n")
        names = "rows, mode, precision, way, tokens/s, to reference, to trl, of ceiling, "
        names += "peak GiB, ceiling GFLOP/s"
        print("|", names.replace(", ", " | "), "|\n|" + "---|" * len(names.split(",")), flush=True)
        for name in given.rows:
            rows, path = kinds[name](), Path(folder) / f"{name}.json"
            rows.write(path)
            print(f"| {name}: {len(rows.prompts)} rows, {rows.num_tokens} tokens |")
            for precision in given.precisions:
                for mode in given.modes:
                    compare(policy, Case(mode, precision, model, path), rows, given)


if __name__ == "__main__":
    main()
