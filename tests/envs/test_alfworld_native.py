"""The native engine by hand: texts, commands, numbers, goals; and what it refuses."""

import json
import os
from pathlib import Path

import pytest

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.native import NativeSession
from opid_lightning.envs.alfworld.native.game import Game, load_game
from opid_lightning.envs.alfworld.native.play import Play
from opid_lightning.envs.alfworld.session import TextWorldSession
from opid_lightning.protocols import Session
from opid_lightning.types import Task
from tests.envs.alfworld_rooms import (
    GOALS,
    HAS,
    fits_everywhere,
    game,
    kinds,
    released_domain,
    write,
)

MUG_IN_CABINET = GOALS["place"].replace("{has}", HAS).format(o="Mug", r="Cabinet")
ROOM = (
    *kinds(),
    *fits_everywhere(),
    "atLocation agent1 loc_bar_0",
    *(f"receptacleAtLocation Cabinet_bar_{number} loc_bar_1" for number in (1, 2)),
    "receptacleAtLocation Shelf_bar_1 loc_bar_2",
    "receptacleAtLocation Fridge_bar_1 loc_bar_3",
    "receptacleAtLocation Microwave_bar_1 loc_bar_4",
    "receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_5",
    "receptacleAtLocation Sink_bar_2 loc_bar_6",
    "openable Cabinet_bar_1",
    "openable Fridge_bar_1",
    "opened Fridge_bar_1",
    *(f"inReceptacle {thing} Shelf_bar_1" for thing in ("Mug_bar_1", "Mug_bar_2", "Knife_bar_1")),
    *(f"objectAtLocation {thing} loc_bar_2" for thing in ("Apple_bar_1", "Mug_bar_1")),
    "inReceptacle Apple_bar_1 Shelf_bar_1",
    *(f"pickupable {thing}" for thing in ("Mug_bar_1", "Knife_bar_1", "Apple_bar_1")),
    *(f"{ability} Apple_bar_1" for ability in ("heatable", "coolable", "cleanable", "sliceable")),
    "toggleable DeskLamp_bar_1",
    "inReceptacle DeskLamp_bar_1 Cabinet_bar_1",
)


def loaded(folder: Path, *more: str, goal: str = MUG_IN_CABINET, **others: str) -> Game:
    return load_game(write(folder, game([*ROOM, *more], goal, **others)))


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(loaded(tmp_path))


def texts(play: Play, *commands: str) -> list[str]:
    return [play.step(command).text for command in commands]


def test_opening_lists_receptacles_by_id_and_numbers_them_backwards(play):
    text, admissible, is_won = play.opening()
    assert text == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly "
        "around you, you see a cabinet 2, a cabinet 1, a fridge 1, a microwave 1, a shelf 1, "
        "a sinkbasin 1, and a sink 2.\n\nYour task is to: do it."
    )
    assert admissible == (
        *("go to cabinet 1", "go to cabinet 2", "go to fridge 1", "go to microwave 1"),
        *("go to shelf 1", "go to sink 2", "go to sinkbasin 1", "help", "inventory", "look"),
    )
    assert not is_won


def test_commands_at_a_shelf_are_what_can_be_taken_but_not_examined(play):
    seen = play.step("go to shelf 1")
    assert seen.text == (
        "You arrive at shelf 1. On the shelf 1, you see a apple 2, a knife 1, a mug 3, and a mug 2."
    )
    assert [command for command in seen.admissible if not command.startswith("go to")] == [
        *("examine shelf 1", "help", "inventory", "look", "take apple 2 from shelf 1"),
        *("take knife 1 from shelf 1", "take mug 3 from shelf 1"),
    ]
    assert "go to shelf 1" not in seen.admissible


def test_two_receptacles_at_one_place_are_faced_together(play):
    assert texts(play, "go to cabinet 1", "look", "go to cabinet 2", "open cabinet 2") == [
        "You arrive at cabinet 1. On the cabinet 1, you see nothing.",
        "You are facing the cabinet 2, and cabinet 1. Next to it, you see nothing.",
        "Nothing happens.",  # one is there already
        "You open the cabinet 2. The cabinet 2 is open. In it, you see a desklamp 1.",
    ]


def test_what_was_taken_from_one_and_put_in_the_other_is_seen_next_to_both(play):
    texts(play, "go to shelf 1", "take mug 3 from shelf 1", "go to cabinet 1")
    texts(play, "move mug 3 to cabinet 1", "take mug 3 from cabinet 1", "open cabinet 2")
    assert texts(play, "move mug 3 to cabinet 2", "look") == [
        "You move the mug 3 to the cabinet 2.",
        "You are facing the cabinet 2, and cabinet 1. Next to it, you see a mug 3.",
    ]


def test_a_lamp_is_used_in_a_closed_cabinet_and_never_goes_off(play):
    assert "use desklamp 1" in play.step("go to cabinet 2").admissible
    assert texts(play, "use desklamp 1", "use desklamp 1") == ["You turn on the desklamp 1."] * 2
    assert texts(play, "open cabinet 2")[0].endswith("In it, you see a desklamp 1.")


def test_an_apple_is_heated_cooled_and_cleaned_where_that_can_be_done(play):
    texts(play, "go to shelf 1", "take apple 2 from shelf 1", "go to microwave 1")
    assert texts(
        play,
        *("examine apple 2", "heat apple 2 with microwave 1", "examine apple 2"),
        *("go to sinkbasin 1", "clean apple 2 with sinkbasin 1", "examine apple 2"),
        *("go to fridge 1", "cool apple 2 with fridge 1", "examine apple 2", "inventory"),
    ) == [
        "There's nothing special about apple 2.",
        "You heat the apple 2 using the microwave 1.",
        "This is a hot apple 2.",
        "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing.",
        "You clean the apple 2 using the sinkbasin 1.",
        "This is a hot and clean apple 2.",
        "You arrive at fridge 1. The fridge 1 is open. In it, you see nothing.",
        "You cool the apple 2 using the fridge 1.",
        "This is a cool and clean apple 2.",
        "You are carrying: a apple 2.",
    ]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (("isCool",), "This is a cold apple 2."),
        (("isClean",), "This is a clean apple 2."),
        (("isCool", "isSliced"), "This is a cool sliced apple 2."),
        (("isHot", "isCool"), "This is a hot apple 2."),
        (("isClean", "isHot", "isSliced"), "This is a hot and clean sliced apple 2."),
        (("isSliced",), "This is a sliced apple 2."),
        (("isToggled",), "There's nothing special about apple 2."),
        (("isToggled", "toggleable"), "This apple 2 is on."),
        (("isHot", "isReceptacleObject"), "This is a normal apple 2. In it, you see nothing."),
    ],
)
def test_what_is_held_at_the_start_is_described_as_it_is(tmp_path, facts, text):
    said = [f"{fact} Apple_bar_1" for fact in facts]
    play = Play(loaded(tmp_path, "holds agent1 Apple_bar_1", "holdsAny agent1", *said))
    assert texts(play, "examine apple 2", "inventory") == [text, "You are carrying: a apple 2."]


def test_what_lies_in_a_cup_is_seen_in_it(tmp_path):
    nested = [f"inReceptacleObject {thing} Mug_bar_1" for thing in ("Spoon", "Mug_bar_1")]
    play = Play(loaded(tmp_path, "isReceptacleObject Mug_bar_1", *nested))
    texts(play, "go to shelf 1", "take mug 3 from shelf 1")
    assert texts(play, "examine mug 3") == ["This is a normal mug 3. In it, you see a spoon ."]


def test_a_knife_slices_what_lies_here_even_what_cannot_be_seen(play):
    texts(play, "go to shelf 1")
    assert "slice apple 2 with knife 1" in play.step("take knife 1 from shelf 1").admissible
    assert texts(play, "slice apple 2 with knife 1") == ["You sliced the apple 2 with the knife 1."]


def test_only_the_released_rules_clean_in_a_sink(tmp_path):
    in_hands = ("holds agent1 Apple_bar_1", "holdsAny agent1")
    command = "clean apple 2 with sink 2"
    shipped = Play(loaded(tmp_path / "1", *in_hands)).step("go to sink 2")
    released = Play(loaded(tmp_path / "2", *in_hands, domain=released_domain())).step(
        "go to sink 2"
    )
    assert command not in shipped.admissible and command in released.admissible


def test_a_command_counts_letter_by_letter_but_for_spaces_around_it(play):
    before = play.opening()
    for command in ("Go to shelf 1", "go to  shelf 1", "go to shelf 1.", "take mug 3", ""):
        after = play.step(command)
        assert after.text == "Nothing happens." and after.admissible == before.admissible
    assert play.step("  go to shelf 1\n").text.startswith("You arrive at shelf 1.")


def test_a_thing_in_two_receptacles_wins_in_one_while_it_is_held_from_the_other(tmp_path):
    goal = "(exists (?o - object) (and (inReceptacle ?o Nook) (isCool ?o)))"
    play = Play(loaded(tmp_path, "inReceptacle Apple_bar_1 Nook", goal=goal))
    texts(play, "go to shelf 1", "take apple 2 from shelf 1", "go to fridge 1")
    assert play.step("cool apple 2 with fridge 1").is_won


def test_a_goal_can_be_lost_again_but_is_rewarded_once(tmp_path):
    path = write(tmp_path, game(ROOM, "(holdsAny agent1)"))
    session = NativeSession(win_reward=5.0)
    session.reset(Task("q", "k", str(path)))
    session.step("go to shelf 1")
    commands = ("take mug 3 from shelf 1", "move mug 3 to shelf 1", "take mug 3 from shelf 1")
    seen = [session.step(command) for command in commands]
    assert [observation.reward for observation in seen] == [5.0, 0.0, 0.0]
    assert all(observation.won and observation.done for observation in seen)
    play = Play(load_game(path))
    play.step("go to shelf 1")
    assert [play.step(command).is_won for command in commands] == [True, False, True]


def test_attempts_at_one_game_do_not_touch_one_another(tmp_path):
    game_at_hand = loaded(tmp_path)
    one, other = Play(game_at_hand), Play(game_at_hand)
    script = ("go to shelf 1", "take mug 3 from shelf 1", "go to cabinet 2", "open cabinet 2")
    expected = texts(one, *script, "move mug 3 to cabinet 2", "use desklamp 1", "close cabinet 2")
    assert texts(
        other, *script, "move mug 3 to cabinet 2", "use desklamp 1", "close cabinet 2"
    ) == (expected)


def test_a_game_that_is_written_anew_is_read_anew(tmp_path):
    path = write(tmp_path, game(ROOM, MUG_IN_CABINET, "one."))
    assert load_game(path) is load_game(path)
    write(tmp_path, game(ROOM, MUG_IN_CABINET, "two."))
    os.utime(path, ns=(1, 1))
    assert load_game(path).goal_words == "two."


@pytest.mark.parametrize(
    ("written", "read"),
    [("put; it.", "put"), ('say \\"hi\\".', "say hi."), ("it's 1, or 2!", "it's 1, or 2!")],
)
def test_goals_end_where_the_original_grammar_stops_reading(tmp_path, written, read):
    assert loaded(tmp_path, words=written).goal_words == read


@pytest.mark.parametrize(
    ("part", "change", "found"),
    [
        ("pddl_domain", ("(isHot ?o)\n", "(isClean ?o)\n"), "PDDL domain is none"),
        ("grammar", ("You close", "You shut"), "grammar is none"),
        ("grammar", ("do it.", "do #it#."), "is no plain text"),
        ("pddl_problem", ("(atLocation agent1 loc_bar_0)", ""), "one agent at one place"),
        (
            "pddl_problem",
            ("(receptacleAtLocation Sink_bar_2", "(receptacleAtLocation Shelf_bar_1"),
            "in two places",
        ),
        ("pddl_problem", ("openable Cabinet_bar_1", "openable Mug_bar_1"), "expected"),
        ("pddl_problem", ("openable Cabinet_bar_1", "shiny Cabinet_bar_1"), "none of the alfred"),
        ("pddl_problem", ("(:goal", "(:gaol"), "lacks :goal"),
        ("pddl_problem", ("(:init", "(:init ("), "lacks a )"),
        ("pddl_problem", ("(:domain alfred)", "(:domain blocks)"), "expected alfred"),
        ("pddl_problem", ("(inReceptacle ?o ?r)", "(onTop ?o ?r)"), "no formula"),
    ],
)
def test_a_game_of_other_rules_is_refused_and_the_other_engine_named(tmp_path, part, change, found):
    data = game(ROOM, MUG_IN_CABINET)
    assert change[0] in data[part]
    data[part] = data[part].replace(*change)
    with pytest.raises(ValueError, match=r"env\.engine=textworld") as refused:
        load_game(write(tmp_path, data))
    assert found in str(refused.value) and str(tmp_path) in str(refused.value)


def test_a_file_without_a_walkthrough_is_played(tmp_path):
    path = tmp_path / "game.tw-pddl"
    data = game(ROOM, MUG_IN_CABINET)
    path.write_text(json.dumps({key: data[key] for key in data if key != "walkthrough"}))
    assert NativeSession(1.0).reset(Task("q", "k", str(path))).goal == "do it."


def test_engines_are_chosen_by_name():
    assert isinstance(ALFWorld().open(), NativeSession)
    assert isinstance(ALFWorld().open(), Session)
    original = ALFWorld(engine="textworld").open()
    assert isinstance(original, TextWorldSession)
    original.close()
    with pytest.raises(ValueError, match="expected one of native, textworld"):
        ALFWorld(engine="jericho")  # type: ignore[arg-type]


def test_a_step_before_the_first_game_says_what_to_call():
    with pytest.raises(ValueError, match="reset"):
        NativeSession(1.0).step("look")
