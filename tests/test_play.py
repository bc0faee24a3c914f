import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.games import TASK_TYPES
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.rollout.play import (
    JSONLines,
    PlainText,
    Terminal,
    commands_from,
    commands_in,
    from_terminal,
    play,
)
from opid_lightning.types import Task

ARCHIVE = Path(__file__).parents[2] / "shared/data/alfworld_games.tar.xz"
KEYS = ["step", "command", "observation", "admissible", "reward", "done", "won"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = generated_games(1, 1, 0, str(tmp_path_factory.mktemp("cache")))
    return ALFWorld(data=str(folder)).tasks("train")[0]


def walkthrough(task: Task) -> list[str]:
    return json.loads(Path(task.payload).read_text())["walkthrough"]


def records(out: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_list_of_commands_is_one_record_a_line_from_reset_to_victory(task, tmp_path):
    file, out = tmp_path / "commands.txt", io.StringIO()
    file.write_text("\n".join(walkthrough(task)) + "\n\nlook\n")
    play(ALFWorld(), task, commands_from(file), JSONLines(out))
    lines = records(out)
    assert all(list(line) == KEYS for line in lines)
    assert [line["step"] for line in lines] == list(range(len(walkthrough(task)) + 1))
    assert [line["command"] for line in lines] == [None, *walkthrough(task)]
    assert "Your task is to:" in lines[0]["observation"] and "look" in lines[0]["admissible"]
    assert [line["won"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert [line["reward"] for line in lines] == [0.0] * (len(lines) - 1) + [1.0]


def test_commands_are_not_cut_at_the_limit_of_a_policy(task):
    out = io.StringIO()
    last = play(
        ALFWorld(max_steps=2), task, commands_in(["look", "fly", "look", "look"]), JSONLines(out)
    )
    assert len(records(out)) == 5 and not last.done
    assert records(out)[2]["observation"] == "Nothing happens."


def test_a_policy_sees_goal_and_history_and_is_cut_at_the_limit(task):
    seen = []

    def actor(goal, history, observation):
        seen.append((goal, len(history), history[-1].action.text if history else None))
        return "look"

    out = io.StringIO()
    play(ALFWorld(max_steps=3), task, actor, JSONLines(out))
    goal = records(out)[0]["observation"].partition("Your task is to: ")[2]
    assert seen == [(goal, 0, None), (goal, 1, "look"), (goal, 2, "look")]
    assert len(records(out)) == 4


def test_an_actor_that_has_nothing_to_say_ends_the_game(task):
    out = io.StringIO()
    play(ALFWorld(), task, lambda goal, history, observation: None, JSONLines(out))
    assert [line["step"] for line in records(out)] == [0]


def test_a_person_reads_the_screen_and_the_output_is_json_alone(task):
    screen, out = io.StringIO(), io.StringIO()
    play(
        ALFWorld(),
        task,
        from_terminal(io.StringIO("look\n\n inventory \n"), screen),
        JSONLines(out),
    )
    assert [line["command"] for line in records(out)] == [None, "look", "inventory"]
    assert "You are not carrying anything." in screen.getvalue()
    assert screen.getvalue().startswith("Goal: put")


def test_at_a_terminal_a_person_reads_the_game_once(task):
    screen = io.StringIO()
    person = Terminal(io.StringIO("look\n"), screen, sees_game=True)
    play(ALFWorld(), task, person, PlainText(screen, echoes=False))
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("Goal: put")
    assert sum(line.startswith("Admissible: ") for line in lines) == 2
    assert sum(line.startswith("> ") for line in lines) == 2
    assert lines[-1] == "Not won after 1 step; the last reward was 0."


def test_a_person_who_watches_sees_the_commands(task):
    screen = io.StringIO()
    play(ALFWorld(), task, commands_in(walkthrough(task)), PlainText(screen))
    lines = screen.getvalue().splitlines()
    assert [line[2:] for line in lines if line.startswith("> ")] == walkthrough(task)
    assert lines[-1].startswith(f"Won after {len(walkthrough(task))} steps")


def test_a_missing_file_of_commands_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file of commands at .*absent\.txt"):
        commands_from(tmp_path / "absent.txt")


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="the archive of released games is not here")
def test_two_released_games_of_each_type_are_won_by_their_walkthroughs(tmp_path):
    for folder in released_games(tmp_path, per_type=2):
        task = ALFWorld().task_from(folder)
        last = play(ALFWorld(), task, commands_in(walkthrough(task)), JSONLines(io.StringIO()))
        assert last.won, task.id


def released_games(folder: Path, per_type: int) -> list[Path]:
    """The first of each type, read from the archive as it is unpacked."""
    found: Counter[str] = Counter()
    games = []
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            kind = next((kind for kind in TASK_TYPES if f"/{kind}-" in member.name), None)
            if kind and member.name.endswith("game.tw-pddl") and found[kind] < per_type:
                found[kind] += 1
                archive.extract(member, folder, filter="data")
                games.append((folder / member.name).parent)
                if len(games) == per_type * len(TASK_TYPES):
                    return games
    raise AssertionError(f"the archive lacks games: {found}")
