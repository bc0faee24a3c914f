"""Listing games, and what is said of data that is missing, half there or broken."""

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.stock import import_alfworld
from opid_lightning.types import Task


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated_games(6, 1, 0, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def data(generated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(generated, tmp_path / "data"))


def first_file(data: Path, name: str) -> Path:
    return min((data / "json_2.1.1/train").rglob(name))


def error_of(data: Path, split: str = "train") -> str:
    with pytest.raises(ValueError) as raised:
        ALFWorld(data=str(data)).tasks(split)
    return str(raised.value)


def test_tasks_are_named_by_path_and_sorted_by_it(data):
    tasks = ALFWorld(data=str(data)).tasks("train")
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    first = tasks[0]
    assert first.id == "/".join(Path(first.payload).parts[-4:-1])
    assert first.id.startswith("train/") and first.id.split("/")[1].startswith(first.kind + "-")
    assert len({task.kind for task in tasks}) == 6


def test_ids_do_not_depend_on_where_the_data_lies(data, generated):
    here, there = (ALFWorld(data=str(folder)).tasks("train") for folder in (data, generated))
    assert [task.id for task in here] == [task.id for task in there]


def test_variable_points_at_the_data_and_the_setting_wins_over_it(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    assert len(ALFWorld().tasks("train")) == 6
    with pytest.raises(ValueError, match="nowhere"):
        ALFWorld(data=str(tmp_path / "nowhere")).tasks("train")


def test_missing_data_is_named_with_the_cure(tmp_path):
    message = error_of(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere/json_2.1.1/train") in message
    assert "does not exist" in message
    assert "alfworld-download" in message and "ALFWORLD_DATA" in message


def test_a_folder_without_the_release_is_told_what_it_holds(tmp_path):
    (tmp_path / "holiday_photos").mkdir()
    assert "holiday_photos" in error_of(tmp_path)


def test_giving_the_release_folder_itself_is_recognised(data):
    assert f"give its parent {data}" in error_of(data / "json_2.1.1")


def test_a_missing_split_is_named(data):
    shutil.rmtree(data / "json_2.1.1/valid_seen")
    assert "no folder 'valid_seen'" in error_of(data, "valid_seen")


def test_an_empty_split_is_no_split(data):
    shutil.rmtree(data / "json_2.1.1/train")
    (data / "json_2.1.1/train").mkdir()
    assert "holds no game folders" in error_of(data)


@pytest.mark.parametrize("name", ["game.tw-pddl", "traj_data.json"])
def test_a_folder_that_lacks_a_file_is_left_out_and_named(data, name, caplog):
    lost = first_file(data, name)
    lost.unlink()
    assert len(ALFWorld(data=str(data)).tasks("train")) == 5
    assert f"1 left out: 1 without {name} (such as {lost.parent})" in caplog.text


def test_a_tree_as_alfworld_download_leaves_it_is_played_and_said_once(data, caplog):
    train = data / "json_2.1.1/train"
    goal, other = sorted(train.iterdir())[:2]
    for lacking in (goal / "trial_T1", other / "trial_T2"):
        lacking.mkdir()
        (lacking / "traj_data.json").write_text("{}")
        (lacking / "initial_state.pddl").write_text("(define)")
    for empty in (
        *(goal / "trial_T0", goal / ".ipynb_checkpoints", train / ".ipynb_checkpoints"),
        *(train / "notes", train / "pick_and_place_simple-Mug-None-Desk-301"),
    ):
        empty.mkdir()
    (train / "README.txt").write_text("hello")
    (goal / "games.zip").write_text("")
    for _ in range(2):
        assert len(ALFWorld(data=str(data)).tasks("train")) == 6
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"6 ALFWorld games in {train}: 9 left out: ")
    for reason in (
        *("3 without game.tw-pddl (such as ", "2 hidden (such as ", "2 no folder (such as "),
        *("1 of no task type of ALFWorld's text games (such as ", "1 without a trial (such as "),
    ):
        assert reason in said


def test_the_games_are_those_that_alfworlds_own_loader_finds(data):
    train = data / "json_2.1.1/train"
    games = sorted(train.rglob("game.tw-pddl"))
    shutil.copytree(games[0].parent, games[0].parent.with_name("trial_without"))
    (games[0].parent.with_name("trial_without") / "game.tw-pddl").unlink()
    shutil.copytree(games[0].parents[1], train / "pick_and_place_simple-AppleSliced-None-Fridge-3")
    (games[1].parent / "traj_data.json").unlink()
    content = json.loads(games[2].read_text())
    games[2].write_text(json.dumps({**content, "solvable": False}))
    del content["solvable"]
    games[3].write_text(json.dumps(content))
    config = {
        "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6]},
        "dataset": {"data_path": str(train), "num_train_games": -1},
    }
    theirs = import_alfworld("agents.environment.alfred_tw_env").AlfredTWEnv(config).game_files
    ours = [task.payload for task in ALFWorld(data=str(data)).tasks("train")]
    assert ours == sorted(theirs) and len(ours) == 3


def test_a_split_in_which_no_trial_has_a_game_says_why(data):
    for game in (data / "json_2.1.1/train").rglob("game.tw-pddl"):
        game.unlink()
    message = error_of(data)
    assert "6 left out: 6 without game.tw-pddl (such as " in message
    assert "alfworld-download" in message


@pytest.mark.parametrize("size", [0, 1000])
def test_a_file_cut_short_is_found_without_playing_it(data, size):
    game = first_file(data, "game.tw-pddl")
    game.write_bytes(game.read_bytes()[:size])
    assert f"{game} is cut short at {size} bytes" in error_of(data)


def test_games_that_alfworld_leaves_out_are_left_out_and_counted(data, caplog):
    train = data / "json_2.1.1/train"
    for name in (
        "pick_and_place_with_movable_recep-Fork-Pan-Fridge-3",
        "pick_and_place_simple-AppleSliced-None-Fridge-3",
    ):
        (train / name / "trial_1").mkdir(parents=True)
        (train / name / "trial_1/traj_data.json").write_text("{}")
    game = first_file(data, "game.tw-pddl")
    game.write_text(json.dumps({**json.loads(game.read_text()), "solvable": False}))
    assert len(ALFWorld(data=str(data)).tasks("train")) == 5
    assert "2 with a movable receptacle or a sliced object" in caplog.text
    assert f"1 not solvable (such as {game})" in caplog.text


def test_solvable_is_found_wherever_it_stands(data):
    game = first_file(data, "game.tw-pddl")
    content = json.loads(game.read_text())
    del content["solvable"]
    game.write_text(json.dumps({"solvable": False, **content}))
    assert len(ALFWorld(data=str(data)).tasks("train")) == 5


def test_a_game_is_found_by_file_and_by_folder(data):
    game = first_file(data, "game.tw-pddl")
    environment = ALFWorld()
    task = environment.task_from(game)
    assert (
        task
        == environment.task_from(str(game.parent))
        == ALFWorld(data=str(data)).tasks("train")[0]
    )


def test_a_game_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no game at .*game\.tw-pddl"):
        ALFWorld().task_from(tmp_path)


def play_error(game: Path, engine: Literal["native", "textworld"] = "native") -> str:
    session = ALFWorld(engine=engine).open()
    try:
        with pytest.raises(ValueError) as raised:
            session.reset(Task("x", "x", str(game)))
    finally:
        session.close()
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "it is no JSON"),
        ('{"pddl_domain": "(define', "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[1, 2]", "pddl_domain, grammar, pddl_problem are missing"),
        ('{"pddl_domain": "d", "grammar": "g"}', "the texts pddl_problem are missing"),
        (
            '{"pddl_domain": "d", "grammar": 1, "pddl_problem": "p"}',
            "the texts grammar are missing",
        ),
    ],
)
def test_a_corrupt_game_is_named_with_what_is_wrong(tmp_path, content, found):
    game = tmp_path / "game.tw-pddl"
    game.write_text(content)
    message = play_error(game)
    assert str(game) in message and found in message and "alfworld-download" in message


@pytest.mark.parametrize(
    ("engine", "found"),
    [("native", "env.engine=textworld"), ("textworld", "the engine stops with")],
)
def test_a_game_of_unknown_rules_is_named_with_what_its_engine_makes_of_it(tmp_path, engine, found):
    game = tmp_path / "game.tw-pddl"
    game.write_text('{"pddl_domain": "d", "grammar": "g", "pddl_problem": "p"}')
    message = play_error(game, engine)
    assert str(game) in message and found in message


def test_binary_rubbish_is_a_corrupt_game_too(tmp_path):
    game = tmp_path / "game.tw-pddl"
    game.write_bytes(bytes(range(128, 256)))
    assert "it is no JSON" in play_error(game)


@pytest.mark.parametrize(
    ("key", "broken"),
    [
        ("pddl_problem", lambda text: text[: len(text) // 2]),
        ("pddl_problem", lambda text: text.replace("agent1 - agent", "")),
        ("pddl_domain", lambda text: text[: len(text) // 2]),
        ("grammar", lambda text: text[: len(text) // 2]),
        ("grammar", lambda text: text.replace("Your task is to:", "Task:")),
    ],
)
def test_a_game_the_engine_cannot_read_is_named_and_the_session_lives_on(data, key, broken):
    game = first_file(data, "game.tw-pddl")
    whole = json.loads(game.read_text())
    session = ALFWorld().open()
    task = Task("x", "x", str(game))
    before = session.reset(task)
    game.write_text(json.dumps({**whole, key: broken(whole[key])}))
    with pytest.raises(ValueError, match="cannot be played"):
        session.reset(task)
    game.write_text(json.dumps(whole))
    assert session.reset(task) == before
    session.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_steps": 0},
        {"history_length": -1},
        {"num_train_games": 0},
        {"num_valid_games": 0},
        {"win_reward": 0.0},
        {"win_reward": float("nan")},
        {"validity": "sometimes"},
    ],
)
def test_a_setting_out_of_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"env.{name} is"):
        ALFWorld(**wrong)
