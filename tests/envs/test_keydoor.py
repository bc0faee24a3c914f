"""keydoor, by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from opid_lightning.envs.keydoor import ACTIONS, Keydoor, Layout
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import Environment
from opid_lightning.types import Action, Observation, Task, Turn

SPLITS = ("train", "valid_seen", "valid_unseen")
EVERY_TASK = [task for split in SPLITS for task in Keydoor().tasks(split)]


def task_of(layout: Layout) -> Task:
    return Task(layout.id, layout.kind, layout)


def play(layout: Layout, *actions: str, size: int = 5) -> list[Observation]:
    session = Keydoor(size=size).open()
    opening = session.reset(task_of(layout))
    return [opening.observation, *(session.step(action) for action in actions)]


def optimal(layout: Layout) -> list[str]:
    """The shortest way: to the key, take it, to the door, open it."""

    def walk(start: int, end: int) -> list[str]:
        return ["left" if end < start else "right"] * abs(end - start)

    if layout.key is None:
        return [*walk(layout.start, layout.door), "open"]
    to_key, to_door = walk(layout.start, layout.key), walk(layout.key, layout.door)
    return [*to_key, "take", *to_door, "open"]


def test_it_is_an_environment() -> None:
    assert isinstance(Keydoor(), Environment)


def test_the_pictured_corridor_is_won_as_written() -> None:
    # . A . K D
    seen = play(Layout(start=1, key=3, door=4), "right", "right", "take", "right", "open")
    assert [observation.text for observation in seen] == [
        "The key is right.",
        "The key is right.",
        "The key is here.",
        "The door is right.",
        "The door is here.",
        "The door is open.",
    ]
    assert [observation.reward for observation in seen] == [0, 0, 0, 0, 0, 10]
    assert [observation.won for observation in seen] == [False] * 5 + [True]
    assert [observation.done for observation in seen] == [False] * 5 + [True]
    assert [observation.admissible for observation in seen] == [
        ("left", "right"),
        ("left", "right"),
        ("left", "right", "take"),
        ("left", "right"),
        ("left", "open"),
        (),
    ]


@pytest.mark.parametrize("action", ["left", "take", "open", "dance"])
def test_what_cannot_be_done_changes_nothing(action: str) -> None:
    # The left end, with a door to open but no key in hand, and the key elsewhere.
    before, after = play(Layout(start=0, key=2, door=0), action)
    assert after.text == f"Nothing. {before.text}"
    assert (after.admissible, after.reward, after.done) == (("right",), 0, False)


def test_a_key_in_hand_cannot_be_taken_again() -> None:
    *_, taken, again = play(Layout(start=1, key=1, door=0), "take", "take")
    assert taken.text == "The door is left."
    assert again.text == "Nothing. The door is left."


def test_a_key_held_from_the_start_opens_the_door() -> None:
    first, _, last = play(Layout(start=1, key=None, door=0), "left", "open")
    assert first.text == "The door is left." and last.won


def test_sessions_forget_the_last_game() -> None:
    session = Keydoor().open()
    task = task_of(Layout(start=1, key=1, door=0))
    first = session.reset(task)
    for action in ("take", "left", "open"):
        session.step(action)
    assert session.reset(task) == first


@pytest.mark.parametrize("task", EVERY_TASK, ids=lambda task: task.id)
def test_every_task_is_won_by_the_shortest_way_with_steps_to_spare(task: Task) -> None:
    way = optimal(task.payload)
    assert play(task.payload, *way, size=4)[-1].won
    assert len(way) <= Keydoor().max_steps - 4


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        (Layout(1, None, 3), "door_only"),
        (Layout(0, 1, 3), "straight_on"),
        (Layout(1, 1, 0), "straight_on"),
        (Layout(3, 1, 0), "straight_on"),
        (Layout(1, 3, 0), "turn_round"),
        (Layout(1, 0, 3), "turn_round"),
    ],
)
def test_kinds_tell_the_ways_apart(layout: Layout, kind: str) -> None:
    assert layout.kind == kind


def test_splits_share_no_task_and_hold_all() -> None:
    # 4 doors x (3 other cells for the key, or held), x 4 starts
    assert len({task.id for task in EVERY_TASK}) == len(EVERY_TASK) == 4 * 4 * 4
    assert set(Counter(task.kind for task in Keydoor().tasks("train"))) == {
        "door_only",
        "straight_on",
        "turn_round",
    }


def places(split: str) -> set[tuple[int | None, int]]:
    tasks = Keydoor().tasks(split)  # type: ignore[arg-type]
    return {(task.payload.key, task.payload.door) for task in tasks}


def test_unseen_places_are_never_trained_on_and_seen_ones_are() -> None:
    assert places("valid_seen") == places("train")
    assert places("valid_unseen").isdisjoint(places("train"))


def test_the_seed_decides_the_split_and_nothing_else_does() -> None:
    assert Keydoor(seed=1).tasks("train") == Keydoor(seed=1).tasks("train")
    assert Keydoor(seed=1).tasks("train") != Keydoor(seed=2).tasks("train")


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("left", Action("left", True)),
        ("held Open, left", Action("open", True)),
        ("leftover taken", Action("nothing", False)),
        ("", Action("nothing", False)),
    ],
)
def test_the_first_word_that_is_an_action_is_played(response: str, action: Action) -> None:
    assert Keydoor().action(response, Observation("The key is left.")) == action


def test_the_prompt_shows_the_goal_the_last_turns_and_now() -> None:
    history = [
        Turn(Observation("The key is right."), Action("right", True)),
        Turn(Observation("The key is here."), Action("take", True)),
    ]
    now = Observation("The door is left.")
    text = Keydoor(history_length=1).prompt("take the key, open the door", history, now)
    assert text.task == "take the key, open the door."
    assert text.situation == "The key is here. Then take. The door is left."
    assert text.request == "Then?"
    shown = Keydoor(history_length=0).prompt("take the key, open the door", history, now)
    assert shown.situation == "The door is left."


def test_its_policy_knows_every_word_of_its_prompts() -> None:
    tokenizer = load_policy(PolicySource("keydoor")).tokenizer
    encode = encode_chat(tokenizer)
    environment = Keydoor(history_length=2)
    for task in EVERY_TASK:
        session = environment.open()
        opening = session.reset(task)
        history: list[Turn] = []
        now = opening.observation
        for response in ("dance", *optimal(task.payload)):
            ids = encode(environment.prompt(opening.goal, history, now).text)
            assert tokenizer.unk_token_id not in ids
            action = environment.action(response, now)
            history.append(Turn(now, action))
            now = session.step(action.text)
    assert tokenizer.unk_token_id not in tokenizer.encode(" ".join(ACTIONS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 2}, "env.size is 2; expected at least 3"),
        ({"max_steps": 0}, "env.max_steps is 0; expected at least 1"),
        ({"history_length": -1}, "env.history_length is -1; expected at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Keydoor(**settings)  # type: ignore[arg-type]
