"""`play` lists games, and takes them by number, name, part of a name or file."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.verbs.game_list import SHOWN, games_of, print_games, task_of
from opid_lightning.cli.verbs.table import main
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.types import Task


def test_a_program_reads_all_games_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "conf=keydoor"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [game["game"] for game in listed] == list(range(1, 65))
    assert [game["split"] for game in listed[38:41]] == ["train", "valid_seen", "valid_seen"]
    assert {tuple(game) for game in listed} == {("game", "id", "kind", "split")}


def test_a_person_reads_the_first_of_each_split() -> None:
    out = io.StringIO()
    print_games(games_of(Keydoor()), out, to_a_person=True)
    lines = out.getvalue().splitlines()
    assert lines[0] == "train: 39 games"
    assert lines[SHOWN + 1].split() == ["...", "up", "to", "39"]
    assert lines[-1].startswith("Add game=NUMBER or game=NAME")


@dataclass(frozen=True)
class Known(Keydoor):
    """Knows games beyond its list, by file and by name."""

    def tasks(self, split: str) -> tuple[Task, ...]:  # type: ignore[override]
        names = {"train": ["2", "first", "left_one", "right_one"], "valid_seen": ["first"]}
        return tuple(Task(name, split, name) for name in names.get(split, ()))

    def task_from(self, name: str) -> Task:
        return Task(f"found {Path(name).name}", "kind", name)


@pytest.mark.parametrize(
    ("game", "meant"),
    [
        ("2", "2"),  # a name, and not the second game
        ("3", "left_one"),
        ("first", "first"),
        ("left", "left_one"),
        ("elsewhere", "found elsewhere"),
    ],
)
def test_the_name_comes_before_the_number_and_its_parts(game: str, meant: str) -> None:
    assert task_of(Known(), game).id == meant


def test_a_file_is_not_looked_up_in_the_list(tmp_path: Path) -> None:
    (tmp_path / "first").touch()
    assert task_of(Known(), str(tmp_path / "first")).id == "found first"


def test_each_split_has_numbers_of_its_own() -> None:
    assert task_of(Known(), "5").kind == "valid_seen"


@pytest.mark.parametrize(
    ("game", "said"),
    [("6", "Numbers go from 1 to 5"), ("one", "There are: left_one, right_one.")],
)
def test_what_is_no_game_or_several(game: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        task_of(Known(), game)
