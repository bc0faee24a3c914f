"""Which files of the package one trajectory passes, from the start of `fit` to the optimizer step.

    python -m benchmarks.files_of_an_iteration

Runs the smallest iteration of keydoor, one task with two attempts, and prints every file of which
a function was called, once an iteration began, until the first optimizer step was made.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections import Counter
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "opid_lightning"
FIRST, LAST = "train_dataloader", "on_train_batch_end"


class Passed:
    """A profiler that writes down files between two calls."""

    def __init__(self) -> None:
        self.calls = Counter[str]()  # into each file
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        name = name_of(code.co_filename)
        if not name or code.co_name == "<module>":
            return
        self.is_on = (self.is_on or code.co_name == FIRST) and code.co_name != LAST
        if self.is_on:
            self.calls[name] += 1


@cache
def name_of(file: str) -> str:
    """Within the package; blank for what lies elsewhere."""
    path = Path(file)
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else ""


def main() -> int:
    from opid_lightning.cli.verbs.table import main as run

    passed = Passed()
    with tempfile.TemporaryDirectory() as folder:
        settings = (
            *("data.tasks_per_iteration=1", "rollout.group_size=2", "trainer.max_epochs=1"),
            *("trainer.num_sanity_val_steps=0", "trainer.limit_val_batches=0"),
            *("trainer.accelerator=cpu", f"trainer.default_root_dir={folder}"),
        )
        sys.setprofile(passed)
        threading.setprofile(passed)
        code = run(["fit", "conf=keydoor", *settings])
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    for name, calls in sorted(passed.calls.items()):
        print(f"{calls:8,}  {name}")
    print(f"{len(passed.calls)} files")
    return code


if __name__ == "__main__":
    sys.exit(main())
