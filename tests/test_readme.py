"""The README's environment, rule and analyst train as they stand."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = """
-m opid_lightning fit conf=keydoor env.class_path=guess.Guess
method.rule.class_path=decay.Decay method.rule.half_life=10 analyst.class_path=endings.Endings
trainer.max_epochs=1 data.tasks_per_iteration=2 trainer.limit_val_batches=0
rollout.max_prompt_tokens=1024 ~callbacks.hf_export ~callbacks.checkpoint
trainer.default_root_dir=run
"""


def test_the_examples_train_together(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert [name for name, _ in blocks] == ["guess.py", "decay.py", "endings.py"]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, *COMMAND.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "run" / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    assert float(row["skills/analysed"]) == 16
    assert float(row["routing/episode_share"]) == 1
