import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.alfworld_walkthroughs import wins
from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.games import TASK_TYPES, list_tasks
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.generation.floor_plans import (
    floor_plan,
    placed_receptacles,
    plan_numbers,
)
from opid_lightning.envs.alfworld.generation.furnishing import Room, Thing, furnish
from opid_lightning.envs.alfworld.generation.goals import Goal, draw_goal, goals_of
from opid_lightning.envs.alfworld.generation.problem import pddl_id, write_problem
from opid_lightning.envs.alfworld.generation.statistics import statistics
from opid_lightning.envs.alfworld.generation.walkthrough import spoken_names, walk
from opid_lightning.envs.alfworld.generation.writing import generate
from opid_lightning.envs.alfworld.native.session import NativeSession
from opid_lightning.envs.alfworld.session import TextWorldSession
from opid_lightning.envs.alfworld.stock import import_alfworld


def files_of(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated_games(12, 6, 3, str(tmp_path_factory.mktemp("cache")))


def test_same_seed_writes_the_same_bytes_and_another_seed_other_games(games, tmp_path):
    again = generated_games(12, 6, 3, str(tmp_path / "again"))
    other = generated_games(12, 6, 4, str(tmp_path / "other"))
    assert files_of(games) == files_of(again)
    assert len(files_of(games)) == 2 * (12 + 6 + 6)
    assert not set(files_of(games).values()) & set(files_of(other).values())


def test_more_games_leave_the_first_ones_as_they_were():
    few, many = list(generate("train", 4, 0)), list(generate("train", 9, 0))
    assert [game.files() for game in few] == [game.files() for game in many[:4]]


def test_cached_games_are_not_made_again(games):
    marked = next(games.rglob("traj_data.json"))
    before = marked.stat().st_mtime_ns
    assert generated_games(12, 6, 3, str(games.parent)) == games
    assert marked.stat().st_mtime_ns == before


def test_a_folder_holds_problem_parameters_and_game_in_the_released_layout(games):
    for path in games.rglob("game.tw-pddl"):
        game = json.loads(path.read_text())
        facts = json.loads((path.parent / "traj_data.json").read_text())
        parameters, scene = facts["pddl_params"], facts["scene"]
        assert list(game) == ["pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"]
        target = parameters["parent_target"] or parameters["toggle_target"]
        assert path.parent.parent.name == (
            f"{facts['task_type']}-{parameters['object_target']}-None-{target}-{scene['scene_num']}"
        )
        assert path.parent.name == facts["task_id"] and path.parent.name.startswith("trial_")
        task = facts["turk_annotations"]["anns"][0]["task_desc"]
        assert f"Your task is to: {task}" in game["grammar"]


def test_alfworlds_own_loader_takes_every_game(games):
    stock = import_alfworld("agents.environment.alfred_tw_env")
    folders = {key: str(games / "json_2.1.1" / split) for key, split in SPLIT_OF_KEY.items()}
    config = {
        "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6]},
        "dataset": {**folders, "num_train_games": -1, "num_eval_games": -1},
    }
    assert stock.AlfredTWEnv(config, "train").num_games == 12
    assert stock.AlfredTWEnv(config, "eval_in_distribution").num_games == 6
    assert stock.AlfredTWEnv(config, "eval_out_of_distribution").num_games == 6


SPLIT_OF_KEY = {
    "data_path": "train",
    "eval_id_data_path": "valid_seen",
    "eval_ood_data_path": "valid_unseen",
}


def test_rooms_of_valid_unseen_are_in_no_other_split():
    assert not set(plan_numbers(is_unseen=True)) & set(plan_numbers(is_unseen=False))
    rooms = {
        split: {game.room.plan.number for game in generate(split, 60, 0)}
        for split in ("train", "valid_seen", "valid_unseen")
    }
    assert rooms["valid_unseen"] <= set(plan_numbers(is_unseen=True))
    assert not rooms["valid_unseen"] & (rooms["train"] | rooms["valid_seen"])


def test_splits_do_not_share_games():
    problems = [
        write_problem(game.room, "any")
        for split in ("train", "valid_seen", "valid_unseen")
        for game in generate(split, 30, 0)
    ]
    assert len(set(problems)) == len(problems)


def test_all_six_types_come_in_turn():
    kinds = [game.room.goal.task_type for game in generate("valid_seen", 12, 0)]
    assert kinds == [*TASK_TYPES, *TASK_TYPES]


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_no_draw_leaves_a_goal_done_or_out_of_reach(task_type):
    rng = random.Random(0)
    numbers = [n for n in plan_numbers(is_unseen=False) if goals_of(n, task_type)]
    for _ in range(40):
        plan = floor_plan(rng.choice(numbers))
        room = furnish(plan, rng.choice(goals_of(plan.number, task_type)), rng)
        wanted = room.of_kind(room.goal.object_kind)
        assert len(wanted) >= room.goal.num_objects
        assert all(thing.place.kind != room.goal.forbidden_place for thing in wanted)
        assert len({thing.id for thing in room.things}) == len(room.things)
        assert room.start not in {place.location for place in plan.receptacles}


def test_every_floor_plan_can_be_read_and_stands_on_its_own():
    for number in (*plan_numbers(is_unseen=True), *plan_numbers(is_unseen=False)):
        plan = floor_plan(number)
        assert plan.receptacles and plan.object_kinds and plan.free_locations
        assert len({place.id for place in plan.receptacles}) == len(plan.receptacles)


def test_ids_are_spelt_as_in_the_released_games():
    assert pddl_id("Mug|+01.36|-00.96") == ("Mug_bar__plus_01_dot_36_bar__minus_00_dot_96")


def test_a_default_environment_plays_generated_games_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    environment = ALFWorld(num_train_games=6, num_valid_games=6, games_cache=str(tmp_path))
    tasks = environment.tasks("train")
    assert sorted(task.kind for task in tasks) == sorted(TASK_TYPES)
    assert "generated games" in caplog.text and str(tmp_path) in caplog.text


def test_a_fresh_process_writes_the_same_bytes_and_leaves_no_other_trace(games, tmp_path):
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    write = (
        "import os, sys; from opid_lightning.envs.alfworld.generation import generated_games; "
        "generated_games(12, 6, 3, sys.argv[1]); print(os.environ.get('ALFWORLD_DATA'))"
    )
    kept = {name: value for name, value in os.environ.items() if name != "ALFWORLD_DATA"}
    run = subprocess.run(
        [sys.executable, "-c", write, str(cache)],
        env={**kept, "HOME": str(home), "PYTHONHASHSEED": "12345"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert files_of(cache) == files_of(games.parent)
    assert run.stdout.strip() == "None"
    assert not list(home.iterdir())


def test_receptacles_and_things_are_called_as_alfworld_calls_them():
    demangler = import_alfworld("agents.utils.misc").Demangler
    for number in (418, 420, 429, 7):  # three with basins of odd names
        goal = goals_of(number, "pick_and_place_simple")[0]
        room = furnish(floor_plan(number), goal, random.Random(0))
        ids = [entity.id for entity in (*room.plan.receptacles, *room.things)]
        infos = {of: SimpleNamespace(id=pddl_id(of).lower()) for of in ids}
        stock = demangler(game_infos=infos)
        names = spoken_names(room)
        assert names == {of: stock.demangle_alfred_name(pddl_id(of).lower()) for of in ids}


def test_rooms_of_released_unseen_games_are_held_out():
    assert {10, 219, 308, 424} < set(plan_numbers(is_unseen=True))
    assert len(plan_numbers(is_unseen=True)) == 12
    counted = {int(number) for number in statistics().standing}
    assert counted == set(plan_numbers(is_unseen=False))


def test_only_what_alfworld_says_how_to_reach_opens():
    cabinets = floor_plan(1).of_kind("Cabinet")
    placed = {place.id for place in placed_receptacles(1)}
    assert [place.is_openable for place in cabinets] == [place.id in placed for place in cabinets]
    assert sum(not place.is_openable for place in cabinets) == statistics().standing["1"]["Cabinet"]
    assert not any(place.is_openable for place in floor_plan(1).of_kind("CounterTop"))


def test_things_lie_where_the_figures_say():
    plan = floor_plan(1)
    goal = next(g for g in goals_of(1, "pick_and_place_simple") if g.object_kind == "Book")
    rng = random.Random(0)
    rooms = [furnish(plan, goal, rng) for _ in range(600)]
    weights = plan.place_weights("Apple")
    total = sum(weight for _, weight in weights)
    chance = sum(weight for place, weight in weights if place.kind == "Fridge") / total
    places = [apple.place.kind for room in rooms for apple in room.of_kind("Apple")]
    assert 0.1 < chance < 0.9
    assert places.count("Fridge") / len(places) == pytest.approx(chance, abs=0.05)
    games = statistics().copies["Kitchen"]["Apple"]
    usual = sum(number * times for number, times in enumerate(games)) / sum(games)
    assert len(places) / len(rooms) == pytest.approx(usual, abs=0.15)


def test_goals_come_as_often_as_the_released_ones_and_some_are_new():
    asked = statistics().goals["pick_heat_then_place_in_recep"]["Kitchen"]
    rng = random.Random(0)
    drawn = Counter(
        f"{goal.object_kind} {goal.target_kind}"
        for goal, _ in (draw_goal("pick_heat_then_place_in_recep", False, rng) for _ in range(4000))
    )
    most = max(asked, key=asked.__getitem__)
    assert drawn[most] / 4000 == pytest.approx(asked[most] / sum(asked.values()), abs=0.02)
    assert 0 < sum(times for goal, times in drawn.items() if goal not in asked) < 80


def test_what_is_to_be_treated_starts_outside_the_appliance_and_cool_in_a_fridge():
    rooms = [game.room for game in generate("train", 600, 1)]
    for room in rooms:
        for thing in room.of_kind(room.goal.object_kind):
            treatment = room.goal.treatment
            assert treatment is None or thing.place.kind != treatment.appliance
        cool = [thing for thing in room.things if thing.is_cool]
        assert all(thing.kind == room.goal.object_kind for thing in cool)
        assert all(thing.place.kind == "Fridge" for thing in cool)
    cool_rooms = [room for room in rooms if any(thing.is_cool for thing in room.things)]
    assert {room.goal.task_type for room in cool_rooms} >= {TASK_TYPES[2], TASK_TYPES[3]}
    assert "isCool" in write_problem(cool_rooms[0], "any")


def test_a_walkthrough_spares_doors_and_ways():
    kitchen = floor_plan(1)
    shut, bare = kitchen.of_kind("Fridge")[0], kitchen.of_kind("SinkBasin")[0]
    goal = Goal("pick_and_place_simple", "Apple", "CounterTop")
    apples = tuple(
        Thing(f"Apple|+0{number}.00|+00.00|+00.00", "Apple", place, False)
        for number, place in enumerate((shut, bare))
    )
    start = kitchen.free_locations[0]
    commands = walk(Room(kitchen, goal, apples, start))
    assert [command.split()[0] for command in commands] == ["go", "take", "go", "move"]
    only_shut = walk(Room(kitchen, goal, apples[:1], start))
    assert [command.split()[0] for command in only_shut] == ["go", "open", "take", "go", "move"]


def test_every_walkthrough_is_listed_command_by_command_and_wins_at_its_end(tmp_path):
    folder = generated_games(90, 30, 7, str(tmp_path))
    session = NativeSession(win_reward=1.0)
    splits = ("train", "valid_seen", "valid_unseen")
    tasks = [task for split in splits for task in list_tasks(folder, split)]
    assert len(tasks) == 150
    assert [task.id for task in tasks if not wins(session, task)] == []


@pytest.mark.parametrize("split", ["train", "valid_unseen"])
def test_a_walkthrough_wins_on_stock_textworld(split, games):
    session = TextWorldSession(win_reward=1.0)
    tasks = list_tasks(games, split)
    assert wins(session, tasks[0]) and wins(session, tasks[-1])
    session.close()


def test_a_walkthrough_that_lacks_its_end_or_goes_on_does_not_count_as_won(games, tmp_path):
    task = list_tasks(games, "train")[0]
    game = json.loads(Path(task.payload).read_text())
    for commands in (game["walkthrough"][:-1], [*game["walkthrough"], "look"], ["fly"]):
        path = tmp_path / "game.tw-pddl"
        path.write_text(json.dumps({**game, "walkthrough": commands}))
        assert not wins(NativeSession(win_reward=1.0), replace(task, payload=str(path)))
