"""A name that is not there is answered with the one that was meant, wherever that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.verbs.table import main


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("fit conf=keydoor lr=1", "'optimizer.lr'"),
        ("fit conf=keydoor trainer.lr=1", "'optimizer.lr'"),
        ("fit conf=keydoor group_size=3", "'rollout.group_size'"),
        ("fit conf=keydoor seed=3", "'seed_everything' or 'env.seed' or 'evaluation.seed'"),
        ("fit conf=keydoor temperature=1", "'evaluation.temperature' or 'rollout.temperature'"),
        ("fit conf=keydoor rollout.max_steps=3", "'env.max_steps' or 'trainer.max_steps'"),
        ("fit conf=keydoor accelerator=gpu", "'trainer.accelerator'"),
        ("fit conf=keydoor lora.rank=3", "'policy.lora'"),
        ("fit conf=keydoor budget=3", "'callbacks.skill_extraction.budget'"),
        ("fit conf=alfworld recipe=qwen3_1.7b", "'alfworld_qwen3_1.7b'"),
        ("fit conf=search recipe=qwen3_1.7b", "'search_qwen3_1.7b'"),
        ("fit conf=webshop recipe=qwen2.5_7b", "'webshop_qwen2.5_7b'"),
        ("fit conf=search model=search", "'small_search'"),
        ("fit conf=keydoor ~stage_timer", "'callbacks.stage_timer'"),
        ("fit conf=keydoor ~callbacks.stagetimer", "'callbacks.stage_timer'"),
        ("fit alfworld", "conf=alfworld"),
        ("fit alfwrld", "conf=alfworld"),
        ("fit small", "model=small"),
        ("fit runs/last.ckpt", "ckpt_path=runs/last.ckpt"),
        ("conf=keydoor", "fit conf=keydoor"),
        ("keydoor", "fit conf=keydoor"),
    ],
)
def test_what_was_meant(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed.split()) == 2
    assert f"Did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "listed"),
    [
        ("~callbacks.foo", "There are: callbacks.checkpoint, callbacks.hf_export, "),
        ("qqq=3", "There are: advantage, analyst, "),
        ("recipe=qqq", "There are: alfworld_qwen2.5_3b, "),
        (
            "logger=tensorboard",
            "There are: csv, wandb. A class of your own is logger.NAME.class_path=",
        ),
        ("model=gemma", "Or a folder, or OWNER/NAME on the Hugging Face hub."),
    ],
)
def test_where_nothing_is_near_all_are_listed(
    typed: str, listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "conf=keydoor", typed]) == 2
    assert listed in capsys.readouterr().err
