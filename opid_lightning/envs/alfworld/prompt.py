"""The user message: goal, the last turns, what is seen now, and what can be done.

Two styles: `instructive` explains the game and the form of an answer to a model that was never
trained on it; `brief` grows by one line a command and tells only what the game said.
"""

from __future__ import annotations

from collections.abc import Sequence

from opid_lightning.envs.window import last_turns
from opid_lightning.types import Observation, PromptText, Turn

GOAL_MARK = "Your task is to:"

_REQUEST = (
    "Now it's your turn. Reason briefly about the next step inside <think> </think>, "
    "then write one action, copied from the list above, inside <action> </action>."
)


def goal_of(opening: str) -> str | None:
    """What the first text of a game asks for, or None where it does not say."""
    _, mark, goal = opening.partition(GOAL_MARK)
    return goal.strip() if mark else None


def write_prompt(
    goal: str, history: Sequence[Turn], observation: Observation, history_length: int
) -> PromptText:
    """Depends on no turn before the window, so a caller may leave those out.

    task      You are in a house ... Your goal: put a clean mug in shelf.

    situation What you did last:
              - You saw: You arrive at desk 1. On the desk 1, you see a mug 1.
                You did: take mug 1 from desk 1

              You see: You pick up the mug 1 from the desk 1.
              Admissible actions: examine mug 1, go to shelf 1, look

    request   Now it's your turn. ...
    """
    recent = history[-history_length:] if history_length else ()
    now = f"You see: {_seen(observation)}"
    if commands := [command for command in observation.admissible if command != "help"]:
        now += f"\nAdmissible actions: {', '.join(commands)}"
    turns = "\n".join(
        f"- You saw: {_seen(turn.observation)}\n  You did: {turn.action.text}" for turn in recent
    )
    return PromptText(
        task=f"You are in a house and act through text commands.\nYour goal: {goal}",
        situation=f"What you did last:\n{turns}\n\n{now}" if turns else now,
        request=_REQUEST,
    )


def write_brief_prompt(
    goal: str, history: Sequence[Turn], observation: Observation, history_length: int
) -> PromptText:
    """For small policies that learned the commands: they are not listed, and little is said.

    situation You are in the middle of a room. Looking quickly around you, you see a desk 1, ...
              > go to desk 1
              You arrive at desk 1. On the desk 1, you see a mug 1.

    request   Your turn. Your goal: put a clean mug in shelf.

    The goal is said last, where it is easiest to read. With a window that spans the episode, the
    tokens of a step's situation begin with those of the step before. The first line is the
    oldest observation given, whatever the window.
    """
    lines = [_seen(history[0].observation if history else observation)]
    for turn, after in last_turns(history, observation, history_length):
        lines.append(f"> {turn.action.text}\n{_seen(after)}")
    return PromptText("", "\n".join(lines), f"Your turn. Your goal: {goal}")


def _seen(observation: Observation) -> str:
    """An observation on one line, less the banner and the goal that the first one carries."""
    text = observation.text.partition(GOAL_MARK)[0]
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("-="))
