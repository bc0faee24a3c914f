"""Damaged files of a user end with code 2 and their name, and never with a traceback."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from opid_lightning.cli.saving import what_changed
from opid_lightning.cli.verbs.table import main
from opid_lightning.hindsight.analysis_file import open_to_write
from tests.resumed_runs import SETTINGS, checkpoint_in, complaint, fit

DAMAGED = {
    "no text": b"rollout: {group_size: 3} # \xff\xfe",
    "nested": b"[" * 100_000,
    "nested mappings": b'{"a": ' * 100_000,
    "digits": b"rollout: {group_size: " + b"9" * 5000 + b"}",
    "half": b"rollout: {group_size: ",
    "nul": b"rollout: \0",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("typed", ["--config={}", "conf={}"])
def test_a_damaged_configuration(
    typed: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(DAMAGED[damage])
    assert main(["fit", typed.format(file)]) == 2
    said = complaint(capsys)
    assert "is not YAML" in said or "cannot be composed" in said
    assert str(file) in said


@pytest.mark.parametrize("damage", [*DAMAGED, "a tail of NULs", "a list"])
def test_a_run_resumes_beside_a_damaged_configuration_and_says_so(
    damage: str, tmp_path: Path
) -> None:
    """It is only compared with what is typed; a power cut leaves NULs at the end of files."""
    others = {"a tail of NULs": b"rollout: {}\n" + bytes(64), "a list": b"- 1\n"}
    (tmp_path / "config.yaml").write_bytes((DAMAGED | others)[damage])
    said = what_changed(tmp_path, {"ckpt_path": str(tmp_path / "checkpoints" / "last.ckpt")})
    assert said.startswith(f"{tmp_path / 'config.yaml'} is damaged (")


@pytest.mark.parametrize("name", ["metrics.csv", "trajectories", "learning_curve.png"])
def test_what_stands_in_the_place_of_a_file_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / name
    if "." in name:
        place.mkdir()
    else:
        place.write_text("")
    assert fit(tmp_path, 1) == 2
    assert f"{place}: " in (said := complaint(capsys)) and "move it away" in said


def test_damaged_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "commands"
    file.write_bytes(b"go \xff\n")
    assert main(["play", "conf=keydoor", "game=start0-held-door0", f"commands={file}"]) == 2
    assert f"{file} is no text in UTF-8" in complaint(capsys)


@pytest.mark.parametrize(
    ("column", "content"),
    [
        ("trajectory_key", "CAST(x'ff00ac' AS TEXT)"),
        ("candidates", "'[1, '"),
        ("candidates", "printf('%.*c', 100000, '[')"),
        ("skills", "printf('%.*c', 100000, '[')"),
        ("skills", "'7'"),
    ],
)
def test_damaged_analyses(
    column: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as SQLite itself does not notice."""
    file = tmp_path / "analyses.sqlite"
    open_to_write(file).close()
    with closing(sqlite3.connect(file)) as connection, connection:
        values = ["1", *["'{}'"] * 7, "'{}'", "''", "''"]
        connection.execute(f"INSERT INTO answers VALUES ({', '.join(values)})")
        connection.execute(f"UPDATE answers SET {column} = {content}")
    replay = ("analyst=replay", f"analyst.path={file}")
    assert main(["fit", *SETTINGS, f"trainer.default_root_dir={tmp_path / 'run'}", *replay]) == 2
    assert str(file) in complaint(capsys)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda held: held.pop("pending_row"), "none that fit wrote"),
        (lambda held: held.update(pending_row=5), "none that fit wrote"),
        (lambda held: held["state_dict"].update(extra=torch.ones(1)), "weights of another policy"),
        (lambda held: held.update(state_dict={}), "weights of another policy"),
    ],
)
def test_a_checkpoint_of_another_program_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: Any, said: str
) -> None:
    assert fit(tmp_path / "run", 1) == 0
    held = checkpoint_in(tmp_path / "run" / "checkpoints")
    edit(held)
    torch.save(held, file := tmp_path / "other.ckpt")
    assert fit(tmp_path / "new", 2, f"ckpt_path={file}") == 2
    assert said in complaint(capsys)
