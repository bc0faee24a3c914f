"""The analyst of docs/analysts.md and the sampler of docs/sampling.md are run as they stand."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

ROOT = Path(__file__).parents[1]
SMALL = [
    *("trainer.max_epochs=1", "data.tasks_per_iteration=2", "trainer.limit_val_batches=0"),
    *("~callbacks.checkpoint", "~callbacks.hf_export", "trainer.default_root_dir=run"),
]


def code_and_command(document: str, file: str) -> tuple[str, list[str]]:
    text = (ROOT / "docs" / document).read_text()
    found = re.search(rf"```python\n(# {file}\n.*?)```\n\n```\npython (.*?)\n```", text, re.DOTALL)
    assert found is not None
    return found[1], shlex.split(found[2])


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    ("document", "file"), [("analysts.md", "mentor.py"), ("sampling.md", "chance.py")]
)
def test_it_is_trained_with(document: str, file: str, first: str, tmp_path: Path) -> None:
    code, command = code_and_command(document, file)
    (tmp_path / file).write_text(first + code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, *command, *SMALL], cwd=tmp_path, env=environment, check=True, timeout=300
    )
    with (tmp_path / "run" / "metrics.csv").open() as file_of_metrics:
        row = next(csv.DictReader(file_of_metrics))
    assert (float(row["rollout/trajectories"]), float(row["skills/analysed"])) == (16, 16)
    log = pyarrow.parquet.read_table(tmp_path / "run" / "trajectories" / "train-000000.parquet")
    steps = log.to_pylist()
    if file == "mentor.py":
        lost = [step for step in steps if not step["won"]]
        assert all(step["episode_skill"].startswith("Kindly do not try this") for step in lost)
        assert sum(bool(step["step_skill"]) for step in lost) == 2 * len(
            {(step["task_id"], step["attempt"]) for step in lost}
        )
    else:
        assert {step["response"] for step in steps} == {"left", "right"}
