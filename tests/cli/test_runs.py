"""Whole runs, typed as a user types them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from opid_lightning.cli.verbs.table import main

TINY = (
    "trainer.max_epochs=2",
    "trainer.limit_val_batches=0",
    "data.tasks_per_iteration=2",
    "rollout.group_size=2",
    "rollout.max_response_tokens=4",
    "batching.mini_batch_rows=8",
)
SILENT = ("~callbacks.progress_bar", "trainer.enable_progress_bar=false")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fit(*typed: str) -> int:
    return main(["fit", *typed, *SILENT])


def figures(run: Path) -> list[dict[str, str]]:
    """All but how long things took."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {n: v for n, v in row.items() if not n.startswith("time/") and not n.endswith("_s")}
            for row in csv.DictReader(file)
        ]


def only_run(conf: str = "keydoor") -> Path:
    (run,) = Path("runs", conf).iterdir()
    return run


def run_module(*typed: str, home: Path) -> subprocess.CompletedProcess[str]:
    """As on a machine that has no key for W&B, and nobody to type one."""
    hidden = ("WANDB_MODE", "WANDB_API_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [sys.executable, "-m", "opid_lightning", *typed],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "HOME": str(home)},
        check=False,
    )


def test_a_run_leaves_everything_in_its_folder_and_never_asks_for_a_key(tmp_path: Path) -> None:
    result = run_module("fit", "conf=keydoor", "logger=wandb", *TINY, home=tmp_path)
    assert result.returncode == 0, result.stderr
    run = only_run()
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "analyses.sqlite",
        "metrics.csv",
        "learning_curve.csv",
        "learning_curve.png",
        "checkpoints",
        "policy",
        "trajectories",
        "wandb",
    }
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert list((run / "wandb").glob("offline-run-*/*.wandb"))
    assert list((run / "trajectories").glob("*.parquet"))
    assert len(figures(run)) == 2


def test_a_run_is_repeated_from_its_saved_configuration() -> None:
    assert fit("conf=keydoor", *TINY) == 0
    first = only_run()
    assert main(["fit", "--config", str(first / "config.yaml")]) == 0
    (second,) = set(first.parent.iterdir()) - {first}
    assert figures(second) == figures(first)
    assert all(row["policy/grad_norm"] for row in figures(first))


def test_a_run_goes_on_where_it_stopped() -> None:
    assert fit("conf=keydoor", *TINY) == 0
    straight = only_run()
    assert fit("conf=keydoor", *TINY, "trainer.max_epochs=1", "trainer.default_root_dir=half") == 0
    original = Path("half/config.yaml").read_text()
    resumed = ("trainer.default_root_dir=half", "ckpt_path=last")
    assert fit("conf=keydoor", *TINY, *resumed) == 0
    assert figures(Path("half")) == figures(straight)
    assert Path("half/config.yaml").read_text() == original
    assert len(list(Path("half").glob("config.resumed-*.yaml"))) == 1


def test_what_is_typed_wins_over_the_checkpoint() -> None:
    assert fit("conf=keydoor", *TINY, "trainer.max_epochs=1", "trainer.default_root_dir=a") == 0
    resumed = ("trainer.default_root_dir=a", "ckpt_path=last", "model.snapshot=copy")
    assert fit("conf=keydoor", *TINY, *resumed) == 0
    (saved,) = Path("a").glob("config.resumed-*.yaml")
    assert yaml.safe_load(saved.read_text())["model"]["snapshot"] == "copy"


def test_an_evaluation_has_a_folder_of_its_own_in_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit("conf=keydoor", *TINY) == 0
    run = only_run()
    before = figures(run)
    typed = ["conf=keydoor", "ckpt_path=last", "evaluation.num_tasks=4", *SILENT]
    assert main(["validate", *typed]) == 0
    assert "valid_seen: 4 of its 13 games, once, at temperature 0.4" in capsys.readouterr().out
    (evaluation,) = (run / "validate").iterdir()
    assert float(figures(evaluation)[0]["validation/success_micro"]) >= 0
    assert figures(run) == before
    assert not (evaluation / "config.yaml").exists()


def test_a_second_run_into_a_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("conf=keydoor", *TINY, "trainer.default_root_dir=a") == 0
    assert fit("conf=keydoor", *TINY, "trainer.default_root_dir=a") == 2
    assert "a already holds a run" in capsys.readouterr().err


def test_the_policy_plays_a_game(capsys: pytest.CaptureFixture[str]) -> None:
    task = "start0-held-door0"
    assert main(["play", "conf=keydoor", f"game={task}", "env.max_steps=3"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["step"] for record in records] == list(range(len(records)))
    assert 2 <= len(records) <= 4
    assert set(records[0]) == {
        "step",
        "command",
        "observation",
        "admissible",
        "reward",
        "done",
        "won",
    }


def test_a_file_of_commands_is_played(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "commands").write_text("open\n")
    assert main(["play", "conf=keydoor", "game=start0-held-door0", "commands=commands"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["command"] for record in records] == [None, "open"]
    assert records[-1]["won"]


def modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(); print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.splitlines()[-1].split())


def test_top_level_help_imports_nothing_heavy() -> None:
    loaded = modules_after("import opid_lightning.cli.verbs.table as v; v.main(['--help'])")
    assert "opid_lightning.cli.verbs.table" in loaded
    assert not {"torch", "lightning", "hydra", "omegaconf"} & loaded


def test_help_of_a_verb_imports_no_engine() -> None:
    loaded = modules_after("import opid_lightning.cli.verbs.training")
    assert "lightning" in loaded
    assert not {"transformers", "vllm", "wandb", "openai"} & loaded
