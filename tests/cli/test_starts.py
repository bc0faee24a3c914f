"""A start that cannot become a run says why in one message, and leaves no folder behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from opid_lightning.cli.verbs.table import main
from opid_lightning.lm.loading import hub

SHORT = [
    "conf=keydoor",
    "trainer.max_epochs=1",
    "data.tasks_per_iteration=2",
    "rollout.group_size=2",
    "evaluation.num_tasks=2",
    "trainer.limit_val_batches=0",
    "~callbacks.hf_export",
    "~callbacks.learning_curve",
    "~callbacks.progress_bar",
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    capsys.readouterr()
    assert main(typed) == 2
    return capsys.readouterr().err.split("opid_lightning: ")[1]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trainer.default_root_dir=file/run", "file/run cannot be written to (Not a directory)"),
        ("trainer.default_root_dir=file", "give another one by trainer.default_root_dir=FOLDER"),
        ("callbacks.checkpoint.dirpath=file/c", "another one by callbacks.checkpoint.dirpath="),
        ("ckpt_path=nowhere.ckpt", "ckpt_path=nowhere.ckpt: there is no such checkpoint"),
        ("ckpt_path=file", "/file is damaged (File is not a zip file)"),
        ("ckpt_path=folder", "ckpt_path=folder is a folder, but not one of shards"),
        ("ckpt_path=nostore://x/y.ckpt", "cannot be read: Protocol not known: nostore"),
        ("trainer.accelerator=tpu", "trainer.accelerator: Requirement 'torch_xla"),
        ("model=folder", "holds no config.json, so it is not a model directory"),
        ("model=no_one/no model", "'no_one/no model' is no name on the Hugging Face hub"),
        (
            "logger.a.class_path=lightning.pytorch.loggers.MLFlowLogger",
            "logger.a: Requirement 'mlflow>=1.0.0' not met",
        ),
        (
            "logger.a.class_path=lightning.pytorch.loggers.CometLogger",
            "expected a class whose first argument is the run's folder",
        ),
    ],
)
def test_what_is_not_there_is_named(
    typed: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert said in refused(capsys, "fit", *SHORT, typed)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "fit", *SHORT, f"trainer.accelerator={name}")
    assert message.startswith(f"trainer.accelerator is '{name}', but torch finds no such device")
    assert "Set on the command line: trainer.accelerator=" in message


def test_a_checkpoint_of_another_policy_says_which(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["fit", *SHORT, "trainer.default_root_dir=run"]) == 0
    checkpoint = "run/checkpoints/last.ckpt"
    before = sorted(tmp_path.rglob("*"))
    for verb in ("fit", "validate"):
        message = refused(
            capsys, verb, "conf=webshop", f"ckpt_path={checkpoint}", "evaluation.num_tasks=2"
        )
        assert (
            "The checkpoint is of policy.path=keydoor (llama, 2 layers, 64 wide, 17 words), "
            in (message)
        )
        assert "policy.path=small_webshop (llama, " in message
    exported = refused(capsys, "export", "conf=webshop", f"ckpt_path={checkpoint}", "out=there")
    assert "The checkpoint is of policy.path=keydoor" in exported
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_has_played_keeps_its_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # The evaluation before the first update is played; then the metric turns out not to be there.
    typed = ["trainer.limit_val_batches=1.0", "callbacks.checkpoint.monitor=validation/no"]
    assert "validation/no" in refused(capsys, "fit", *SHORT, *typed)
    assert list(tmp_path.glob("runs/keydoor/*/config.yaml"))


@pytest.fixture
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    hub.only_cached.cache_clear()


@pytest.mark.usefixtures("_no_hub")
def test_a_hub_out_of_reach_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "fit", *SHORT, "model=no_one/no_model")
    assert "'no_one/no_model' is not in the cache of the Hugging Face hub" in message
    assert message.splitlines()[1:] == ["  Set on the command line: model=no_one/no_model"]
    assert not Path("runs").exists()
    assert main(["doctor", *SHORT, "model=no_one/no_model"]) == 1
    assert "missing          policy          'no_one/no_model'" in capsys.readouterr().out
