"""The example of docs/environments.md is tested and trained on as it stands."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from opid_lightning.envs.workers import Workers
from opid_lightning.rollout.rollout import Rollout

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "environments.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"```python\n(# {re.escape(name)}\n.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files that the document shows."""
    for name in ("vault.py", "test_vault.py"):
        (tmp_path / name).write_text(block(name))
    return tmp_path


def run(folder: Path, command: str, *words: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *command.split(), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_keeps_what_its_own_tests_ask_for(folder: Path) -> None:
    assert "10 passed" in run(folder, "-m pytest -q -p no:cacheprovider test_vault.py")


def test_the_example_is_trained_on_in_worker_processes(folder: Path) -> None:
    run(
        folder,
        "-m opid_lightning fit conf=keydoor env.class_path=vault.Vault env.max_steps=3 "
        "workers.num_processes=8 trainer.max_epochs=1 data.tasks_per_iteration=2 "
        "~callbacks.checkpoint ~callbacks.hf_export trainer.limit_val_batches=0 "
        "trainer.default_root_dir=run",
    )
    with (folder / "run" / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (float(row["rollout/trajectories"]), float(row["rollout/rows"])) == (16, 48)
    assert float(row["rollout/sessions_lost"]) == 0


def test_the_example_is_played_as_the_document_says(folder: Path) -> None:
    command = "-m opid_lightning play conf=alfworld env.class_path=vault.Vault commands=-"
    shown = run(folder, command, "game=(1, 2, 0)", given="turn dial 1\nturn dial 2\nturn dial 2\n")
    assert '"won": true' in shown.splitlines()[-1]


def test_the_settings_have_the_defaults_that_the_document_says() -> None:
    rows = re.findall(r"^\| `(workers|rollout)\.(\w+)` \| ([\d.]+) \|", DOCUMENT, re.M)
    settings = {"workers": Workers(), "rollout": Rollout()}
    assert {name for _, name, _ in rows} >= {f.name for f in dataclasses.fields(Workers)}
    for group, name, default in rows:
        assert getattr(settings[group], name) == float(default)
