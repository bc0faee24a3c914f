from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.prompt import goal_of
from opid_lightning.types import Action, Observation, Turn

OPENING = """-= Welcome to TextWorld, ALFRED! =-

You are in the middle of a room. Looking quickly around you, you see a desk 1, and a shelf 1.

Your task is to: put a mug in shelf."""


def turn(text: str, command: str) -> Turn:
    return Turn(Observation(text), Action(command, is_valid=True))


def test_prompt_shows_goal_window_observation_and_commands():
    history = [
        turn(OPENING, "go to desk 1"),
        turn("You arrive at desk 1. On the desk 1, you see a mug 1.", "take mug 1 from desk 1"),
    ]
    now = Observation("You pick up the mug 1 from the desk 1.", ("go to shelf 1", "help", "look"))
    assert (
        ALFWorld().prompt("put a mug in shelf.", history, now).text
        == """\
You are in a house and act through text commands.
Your goal: put a mug in shelf.

What you did last:
- You saw: You are in the middle of a room. Looking quickly around you, you see a desk 1, and \
a shelf 1.
  You did: go to desk 1
- You saw: You arrive at desk 1. On the desk 1, you see a mug 1.
  You did: take mug 1 from desk 1

You see: You pick up the mug 1 from the desk 1.
Admissible actions: go to shelf 1, look

Now it's your turn. Reason briefly about the next step inside <think> </think>, then write one \
action, copied from the list above, inside <action> </action>."""
    )


def test_first_prompt_has_no_history_and_says_the_goal_once():
    prompt = ALFWorld().prompt("put a mug in shelf.", (), Observation(OPENING))
    assert prompt.situation.startswith("You see: You are in the middle of a room.")
    assert prompt.text.count("put a mug in shelf.") == 1
    assert "Welcome" not in prompt.text


def test_goal_line_ends_the_task_part_and_the_request_is_a_part_of_its_own():
    prompt = ALFWorld().prompt("put a mug in shelf.", (), Observation(OPENING))
    assert prompt.task.splitlines()[-1] == "Your goal: put a mug in shelf."
    assert prompt.request.startswith("Now it's your turn")


@given(st.integers(0, 4), st.integers(0, 8))
def test_only_turns_in_the_window_matter(history_length, num_turns):
    history = [turn(f"seen {i}", f"did {i}") for i in range(num_turns)]
    environment, now = ALFWorld(history_length=history_length), Observation("now")
    whole = environment.prompt("g", history, now)
    window = history[max(0, num_turns - history_length) :]
    assert whole == environment.prompt("g", window, now)
    shown = [i for i in range(num_turns) if f"seen {i}\n  You did: did {i}" in whole.text]
    assert shown == list(range(num_turns))[max(0, num_turns - history_length) :]


def test_goal_is_what_follows_the_mark():
    assert goal_of(OPENING) == "put a mug in shelf."
    assert goal_of("You are in a room.") is None


BRIEF = ALFWorld(prompt_style="brief", history_length=30)


def test_brief_prompt_tells_the_episode_line_by_line():
    history = [
        turn(OPENING, "go to desk 1"),
        turn("You arrive at desk 1. On the desk 1, you see a mug 1.", "take mug 1 from desk 1"),
    ]
    now = Observation("You pick up the mug 1 from the desk 1.", ("go to shelf 1", "help", "look"))
    assert (
        BRIEF.prompt("put a mug in shelf.", history, now).text
        == """\
You are in the middle of a room. Looking quickly around you, you see a desk 1, and a shelf 1.
> go to desk 1
You arrive at desk 1. On the desk 1, you see a mug 1.
> take mug 1 from desk 1
You pick up the mug 1 from the desk 1.

Your turn. Your goal: put a mug in shelf."""
    )


@given(st.integers(0, 6))
def test_a_brief_prompt_goes_on_where_the_one_before_ended(num_turns):
    history = [turn(f"seen {i}", f"did {i}") for i in range(num_turns)]
    now = turn("seen now", "did this")
    before = BRIEF.prompt("g", history, now.observation)
    after = BRIEF.prompt("g", [*history, now], Observation("seen after"))
    assert after.situation == f"{before.situation}\n> did this\nseen after"
    assert (after.task, after.request) == (before.task, before.request)


def test_a_short_window_of_a_brief_prompt_keeps_the_room():
    history = [turn(OPENING, "go to desk 1"), turn("at desk", "look"), turn("desk", "inventory")]
    short = ALFWorld(prompt_style="brief", history_length=1)
    assert short.prompt("g", history, Observation("nothing")).situation == (
        "You are in the middle of a room. Looking quickly around you, you see a desk 1, "
        "and a shelf 1.\n> inventory\nnothing"
    )
