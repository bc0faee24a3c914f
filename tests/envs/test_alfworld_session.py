"""Sessions of both engines: walkthroughs win generated games, sessions are reused."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from benchmarks.alfworld_engines import parsing_once
from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.games import TASK_TYPES
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.protocols import Environment
from opid_lightning.types import Observation, Opening, Task


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    folder = generated_games(6, 1, 1, str(tmp_path_factory.mktemp("cache")))
    return {task.kind: task for task in ALFWorld(data=str(folder)).tasks("train")}


@pytest.fixture(params=["native", "textworld"])
def engine(request: pytest.FixtureRequest) -> Literal["native", "textworld"]:
    return request.param


@pytest.fixture(scope="module", autouse=True)
def _less_waiting() -> Iterator[None]:
    with parsing_once():
        yield


def walkthrough(task: Task) -> list[str]:
    return json.loads(Path(task.payload).read_text())["walkthrough"]


def playthrough(session, task: Task) -> tuple[Opening, list[Observation]]:
    return session.reset(task), [session.step(command) for command in walkthrough(task)]


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("textworld", "look_at_obj_in_light"), *(("native", kind) for kind in TASK_TYPES)],
)
def test_walkthrough_of_a_generated_game_wins_with_its_last_command(tasks, engine, kind):
    session = ALFWorld(win_reward=10.0, engine=engine).open()
    opening, seen = playthrough(session, tasks[kind])
    session.close()
    assert not opening.observation.won and opening.observation.reward == 0.0
    assert all(o.text != "Nothing happens." for o in seen)
    assert [o.won for o in seen] == [o.done for o in seen] == [False] * (len(seen) - 1) + [True]
    assert [o.reward for o in seen] == [0.0] * (len(seen) - 1) + [10.0]


def test_opening_shows_the_room_and_names_the_goal(tasks, engine):
    session = ALFWorld(engine=engine).open()
    opening = session.reset(tasks["pick_and_place_simple"])
    session.close()
    text = opening.observation.text
    assert text.startswith("-= Welcome to TextWorld, ALFRED! =-")
    assert text.endswith(f"Your task is to: {opening.goal}") and opening.goal.startswith("put ")
    assert {"look", "inventory", "help"} < set(opening.observation.admissible)
    assert list(opening.observation.admissible) == sorted(opening.observation.admissible)


def test_a_reused_session_shows_what_a_new_one_shows(tasks, engine):
    one, two = (tasks[kind] for kind in TASK_TYPES[:2])
    reused, fresh = ALFWorld(engine=engine).open(), ALFWorld(engine=engine).open()
    first = playthrough(reused, one)
    other = playthrough(reused, two)
    assert playthrough(reused, one) == first
    assert playthrough(fresh, two) == other
    reused.close()
    fresh.close()


def test_a_session_left_in_mid_game_starts_the_next_afresh(tasks, engine):
    task = tasks["pick_and_place_simple"]
    session = ALFWorld(engine=engine).open()
    opening = session.reset(task)
    for command in walkthrough(task)[:3]:
        session.step(command)
    assert session.reset(task) == opening
    session.close()


def test_sessions_side_by_side_do_not_disturb_one_another(tasks, engine):
    kinds = TASK_TYPES[:2]
    sessions = [ALFWorld(engine=engine).open() for _ in kinds]
    for session, kind in zip(sessions, kinds, strict=True):
        session.reset(tasks[kind])
    won = [
        [session.step(command).won for command in walkthrough(tasks[kind])][-1]
        for session, kind in reversed(list(zip(sessions, kinds, strict=True)))
    ]
    assert won == [True, True]
    for session in sessions:
        session.close()


def test_nothing_happens_on_a_command_that_is_not_listed(tasks, engine):
    session = ALFWorld(engine=engine).open()
    before = session.reset(tasks["pick_and_place_simple"]).observation
    for command in ("GO TO " + before.admissible[0][6:], "fly", ""):
        after = session.step(command)
        assert after.text == "Nothing happens." and after.admissible == before.admissible
        assert after.reward == 0.0 and not after.done
    session.close()


def test_the_reward_for_winning_is_paid_once(tasks, engine):
    session = ALFWorld(engine=engine).open()
    playthrough(session, tasks["pick_and_place_simple"])
    after = session.step("look")
    assert after.reward == 0.0 and after.done and after.won
    assert session.reset(tasks["look_at_obj_in_light"]).observation.won is False
    session.close()


def test_playing_leaves_the_command_line_alone(tasks, engine):
    before = list(sys.argv)
    session = ALFWorld(engine=engine).open()
    session.reset(tasks["look_at_obj_in_light"])
    session.close()
    assert sys.argv == before


def test_alfworld_is_an_environment():
    assert isinstance(ALFWorld(), Environment)
