"""Flips single bits of a checkpoint, one at a time, and counts those that nobody notices.

    python -m benchmarks.flipped_bits RUN/checkpoints/last.ckpt [--flips 400] [--seed 0]

A flip is `noticed` where loading raises a ValueError of ours, a `traceback` where it raises
anything else, `harmless` where every value that is loaded is as it was (the bit was in the
padding of the archive), and `silent` where a value is another one. Of a folder of shards, bits of
all its files are flipped, and what `ckpt_path=last` would resume from counts as loaded.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from opid_lightning.training.checkpoints.files import CheckpointFiles, newest_checkpoint


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (value,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([value ^ 1 << bit % 8]))


def is_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        return same and one.numpy().tobytes() == other.numpy().tobytes()
    return bool(one == other) or one != one


def outcome(path: Path, whole: Any) -> str:
    try:
        if path.is_dir():
            found, _ = newest_checkpoint(path.parent)
            return "noticed" if found is None else "silent"
        loaded = CheckpointFiles().load_checkpoint(path)
    except ValueError as error:
        is_ours = type(error) is ValueError and str(path) in str(error)
        return "noticed" if is_ours else f"traceback: {type(error).__name__}"
    except Exception as error:
        return f"traceback: {type(error).__name__}"
    return "harmless" if is_equal(loaded, whole) else "silent"


def try_flips(checkpoint: Path, flips: int, draw: random.Random) -> Counter[str]:
    whole = None if checkpoint.is_dir() else CheckpointFiles().load_checkpoint(checkpoint)
    found = Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkpoint.ckpt"
        (shutil.copytree if checkpoint.is_dir() else shutil.copyfile)(checkpoint, copy)
        files = sorted(p for p in copy.rglob("*") if p.is_file()) if copy.is_dir() else [copy]
        for _ in range(flips):
            (file,) = draw.choices(files, [each.stat().st_size for each in files])
            bit = draw.randrange(8 * file.stat().st_size)
            flip(file, bit)
            found[outcome(copy, whole)] += 1
            flip(file, bit)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    found = try_flips(chosen.checkpoint, chosen.flips, random.Random(chosen.seed))
    print(f"{chosen.flips} single bits of {chosen.checkpoint}")
    for name, number in found.most_common():
        print(f"  {name:<28}{number:5d}")
    if set(found) - {"noticed", "harmless"}:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
