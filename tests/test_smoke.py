"""Each benchmark that ships, from the command line to a trained policy, on its embedded default.

ALFWorld's is in tests/cli and tests/test_invariants.py.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from safetensors.torch import load_file

from opid_lightning.cli.verbs.table import main
from opid_lightning.lm.policy import EMBEDDED

LEAST = {"search": 0.1, "webshop": 0.05}  # of the held-out tasks, before any update


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("conf", LEAST)
def test_an_iteration_of_opid_from_nothing_but_the_package(
    conf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = [
        *("fit", f"conf={conf}", "trainer.max_epochs=1", "data.tasks_per_iteration=4"),
        *("rollout.group_size=4", "evaluation.num_tasks=50", f"env.cache={tmp_path / 'data'}"),
        *("trainer.default_root_dir=run", "trainer.enable_progress_bar=false"),
        *("~callbacks.progress_bar", "~callbacks.checkpoint", "trainer.check_val_every_n_epoch=2"),
    ]
    assert main(typed) == 0
    start, trained = rows_of(tmp_path / "run")
    # It reads these prompts, and its tokenizer these words: else it would win nothing.
    assert float(start["validation/success_micro"]) >= LEAST[conf]
    assert float(trained["rollout/steps_mean"]) > 1
    assert float(trained["routing/none_share"]) < 0.5
    before = load_file(EMBEDDED / f"small_{conf}" / "model.safetensors")
    after = load_file(tmp_path / "run" / "policy" / "model.safetensors")
    assert any((before[name] != after[name]).any() for name in before)
