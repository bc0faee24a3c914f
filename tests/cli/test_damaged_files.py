"""Damaged files of a user end with code 2 and their name, and never with a traceback."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from opid_lightning.cli.verbs.table import main
from opid_lightning.hindsight.analysis_file import open_to_write
from tests.resumed_runs import SETTINGS, complaint

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
