"""The expert that searches."""

import random

import pytest

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.expert import (
    Decision,
    Placements,
    SearchingExpert,
    count_placements,
)
from opid_lightning.types import Observation

ROOM = Observation(
    "You are in the middle of a room. Looking quickly around you, you see a desk 1, "
    "a drawer 2, a drawer 1, a fridge 1, and a shelf 1.",
    ("go to desk 1", "go to drawer 1", "go to drawer 2", "go to fridge 1", "go to shelf 1"),
)


def expert(kind="pick_and_place_simple", target="shelf", rates=None, **settings):
    found = SearchingExpert(
        kind, "mug", target, Placements(rates or {("mug", "drawer"): 1.0}), random.Random(0)
    )
    found.see(None, ROOM)
    return found


def after(player, command, text, *commands):
    player.see(command, Observation(text, commands))
    return player.decide()


def test_it_looks_first_where_such_things_lie_and_goes_through_a_kind_in_order():
    player = expert()
    assert player.decide() == Decision("the mug: find", "go to drawer 1")
    closed = "You arrive at drawer 1. The drawer 1 is closed."
    assert after(player, "go to drawer 1", closed, "open drawer 1").command == "open drawer 1"
    opened = "You open the drawer 1. The drawer 1 is open. In it, you see a pen 1."
    decision = after(player, "open drawer 1", opened, "go to drawer 2", "go to desk 1")
    assert decision == Decision("the mug: find", "go to drawer 2")


def test_it_takes_what_it_sees_and_opens_the_target_before_it_puts_it_in():
    player = expert(target="fridge")
    seen = "You arrive at desk 1. On the desk 1, you see a pen 1, and a mug 2."
    take = after(player, "go to desk 1", seen, "take mug 2 from desk 1", "go to fridge 1")
    assert take == Decision("the mug 2: take", "take mug 2 from desk 1")
    go = after(player, take.command, "You pick up the mug 2 from the desk 1.", "go to fridge 1")
    assert go == Decision("the mug 2: bring to fridge", "go to fridge 1")
    closed = "You arrive at fridge 1. The fridge 1 is closed."
    assert after(player, go.command, closed, "open fridge 1").command == "open fridge 1"
    opened = "You open the fridge 1. The fridge 1 is open. In it, you see nothing."
    put = after(player, "open fridge 1", opened, "move mug 2 to fridge 1")
    assert put.command == "move mug 2 to fridge 1"


def test_it_treats_an_object_once_before_it_brings_it():
    player = expert(kind="pick_cool_then_place_in_recep")
    seen = "You arrive at desk 1. On the desk 1, you see a mug 1."
    take = after(player, "go to desk 1", seen, "take mug 1 from desk 1")
    cool = after(player, take.command, "You pick up the mug 1 from the desk 1.", "go to fridge 1")
    assert cool == Decision("the mug 1: cool", "go to fridge 1")
    closed = "You arrive at fridge 1. The fridge 1 is closed."
    now = after(player, cool.command, closed, "cool mug 1 with fridge 1", "open fridge 1")
    assert now.command == "cool mug 1 with fridge 1"
    cooled = "You cool the mug 1 using the fridge 1."
    bring = after(player, now.command, cooled, "go to shelf 1", "cool mug 1 with fridge 1")
    assert bring == Decision("the mug 1: bring to shelf", "go to shelf 1")


def test_it_does_not_take_away_what_already_lies_on_the_target():
    player = expert(kind="pick_two_obj_and_place")
    seen = "You arrive at shelf 1. On the shelf 1, you see a mug 1."
    assert after(player, "go to shelf 1", seen, *ROOM.admissible).command == "go to drawer 1"


def test_it_gets_rid_of_what_it_should_not_hold():
    player = expert()
    player.see("go to desk 1", Observation("On the desk 1, you see a pen 1.", ()))
    taken = "You pick up the pen 1 from the desk 1."
    put = after(player, "take pen 1 from desk 1", taken, "move pen 1 to desk 1")
    assert put == Decision("the pen 1: put away", "move pen 1 to desk 1")


def test_a_command_that_did_nothing_changes_nothing():
    player = expert()
    player.see("take mug 1 from desk 1", Observation("Nothing happens.", ROOM.admissible))
    assert player.held is None and player.decide().command == "go to drawer 1"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    return ALFWorld(num_train_games=60, num_valid_games=6, games_cache=str(folder))


def test_rates_are_by_receptacle(environment):
    """Counted again by playing: what a room shows is where things start."""
    tasks = environment.tasks("train")[:3]
    placements = count_placements(tasks)
    session, held, standing = environment.open(), 0, 0
    for task in tasks:
        room = session.reset(task).observation.text
        for word in (f"sidetable {n}" for n in range(1, 9)):
            if f"a {word}," in room or f"a {word}." in room:
                standing += 1
                held += " a book " in session.step(f"go to {word}").text
    if standing:
        assert placements.rate("book", "sidetable") == held / standing


def test_it_wins_most_games_by_admissible_commands_alone(environment):
    session, placements = environment.open(), count_placements(environment.tasks("train"))
    rng, won = random.Random(0), 0
    for task in environment.tasks("train"):
        observation = session.reset(task).observation
        player = SearchingExpert.of(task, placements, rng)
        player.see(None, observation)
        for _ in range(50):
            decision = player.decide()
            assert decision.command in observation.admissible
            observation = session.step(decision.command)
            player.see(decision.command, observation)
            if observation.done:
                break
        won += observation.won
    assert won >= 0.8 * len(environment.tasks("train"))
