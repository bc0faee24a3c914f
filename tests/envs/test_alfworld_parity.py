"""Both engines side by side, on small games in which anything may be true."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.alfworld_engines import Answer, Native, Stock, parsing_once
from benchmarks.alfworld_parity import compare
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.native.game import load_game
from opid_lightning.envs.alfworld.native.play import Play
from opid_lightning.envs.alfworld.native.rules import read_rules
from opid_lightning.envs.alfworld.stock import shipped
from tests.envs.alfworld_rooms import GOALS, game, random_game, released_domain, write
from tests.envs.test_alfworld_native import ROOM

PLAYABLE = (0, 3, 8, 12)  # seeds of random games that the original finds a solution to


@pytest.fixture(scope="module")
def stock() -> Iterator[Stock]:
    with parsing_once():
        yield Stock()


def test_the_original_parses_as_before_afterwards(tmp_path):
    path = write(tmp_path, game(ROOM, "(holdsAny agent1)"))
    plain = Stock()
    seen = [plain.start(path), plain.step("go to shelf 1")]
    with parsing_once():
        once = Stock()
        assert [once.start(path), once.step("go to shelf 1")] == seen
    assert plain.start(path) == seen[0]


@pytest.mark.parametrize("seed", PLAYABLE)
def test_engines_agree_on_a_game_of_random_facts(stock, tmp_path, seed):
    path = write(tmp_path, random_game(seed))
    result = compare(path, stock, ("random",), 15, random.Random(seed))
    assert (result.differences, result.num_steps, result.stock_error) == ([], 15, None)


def test_engines_agree_on_nested_opened_held_sliced_and_shared(stock, tmp_path):
    facts = [
        *(*ROOM, "holds agent1 Mug_bar_3", "holdsAny agent1", "isReceptacleObject Mug_bar_3"),
        *("inReceptacleObject Spoon Mug_bar_3", "isSliced Apple_bar_1", "isHot Apple_bar_1"),
        *("inReceptacle Apple_bar_1 Nook", "isToggled DeskLamp_bar_1"),
        "receptacleAtLocation Nook loc_bar_2",
    ]
    goal = "(and (isClean Apple_bar_1) (inReceptacle Apple_bar_1 Cabinet_bar_2))"
    path = write(tmp_path, game(facts, goal, domain=released_domain()))
    script = """
        inventory; examine mug 1; go to cabinet 2; look; open cabinet 2; examine desklamp 1
        move mug 1 to cabinet 2; use desklamp 1; look; take mug 1 from cabinet 2
        move mug 1 to cabinet 1; look; close cabinet 2; go to nook; go to shelf 1; examine nook
        take apple 2 from nook; take apple 2 from shelf 1; look; examine apple 2
        go to sink 2; clean apple 2 with sink 2; examine apple 2; go to fridge 1
        cool apple 2 with fridge 1; close fridge 1; inventory; go to cabinet 1
        move apple 2 to cabinet 1; take apple 2 from cabinet 1; help; Look
    """
    assert played(Native(), path, script) == played(stock, path, script)


def played(engine: Stock | Native, path: Path, script: str) -> list[Answer]:
    commands = script.replace("\n", ";").split(";")
    return [engine.start(path), *(engine.step(command) for command in commands)]


def test_engines_agree_on_a_generated_game(stock, tmp_path):
    folder = generated_games(1, 1, 5, str(tmp_path))
    path = next(folder.rglob("train/**/game.tw-pddl"))
    result = compare(path, stock, ("walkthrough",), 0, random.Random(0))
    assert result.differences == [] and result.num_steps > 0


def test_a_difference_is_told_with_the_commands_that_led_to_it(tmp_path):
    class Terse(Stock):
        def step(self, command: str) -> Answer:
            answer = super().step(command)
            return replace(answer, text="Ask someone.") if command == "help" else answer

    data = game(ROOM, GOALS["imply"]) | {"walkthrough": ["go to shelf 1", "help"]}
    result = compare(write(tmp_path, data), Terse(), ("walkthrough",), 0, random.Random(0))
    (difference,) = result.differences
    assert "after ['go to shelf 1', 'help']: text: stock 'Ask someone.', native 'Av" in difference


def test_the_installed_rules_are_known():
    texts = [shipped(f"data/alfred.{ending}").read_text() for ending in ("pddl", "twl2")]
    assert read_rules(*texts).goal == "UNKNOWN GOAL."


def test_winning_is_asked_for_after_every_move_that_can_change_it(tmp_path):
    for seed in range(60):
        game_at_hand = load_game(write(tmp_path / str(seed), random_game(seed)))
        play, rng = Play(game_at_hand), random.Random(seed)
        scene = play.opening()
        for _ in range(40):
            assert scene.is_won == game_at_hand.goal.is_met(play._state)
            scene = play.step(rng.choice(scene.admissible))
