"""The README's example of an environment is trained on as it stands."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def example() -> str:
    found = re.search(
        r"```python\n(# guess\.py.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert found is not None
    return found[1]


def test_the_example_environment_is_played_as_the_readme_says(tmp_path: Path) -> None:
    (tmp_path / "guess.py").write_text(example())
    command = (
        "-m opid_lightning fit conf=alfworld env.class_path=guess.Guess trainer.max_epochs=1 "
        "data.tasks_per_iteration=2 rollout.max_response_tokens=4 ~callbacks.checkpoint "
        "trainer.limit_val_batches=0 trainer.default_root_dir=run"
    )
    subprocess.run(
        [sys.executable, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=300,
    )
    with (tmp_path / "run" / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    assert float(row["rollout/trajectories"]) == 16
    assert 1 <= float(row["rollout/steps_mean"]) <= 6


def test_the_example_is_as_short_as_it_claims() -> None:
    assert len(example().splitlines()) <= 50
