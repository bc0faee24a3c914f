"""The user message: the question, what was searched and found, and what can be done.

Two styles: `instructive` explains the task and the form of an answer to a model that was never
trained on it; `brief` grows by what each step added and says nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from opid_lightning.envs.window import last_turns
from opid_lightning.types import Observation, PromptText, Turn

NOTHING_DONE = "(neither a search nor an answer)"

_TASK = (
    "You answer a question with the help of a search engine. What you do not know for certain, "
    "search for: often one passage names what the next search has to look for."
)
_REQUEST = (
    "Now it's your turn. Reason briefly inside <think> </think> about what is still missing. Then "
    "do one of two things, not both:\n"
    "- search, with a few words inside <search> </search>; passages come back in "
    "<information> </information>\n"
    "- answer, with nothing but the name, number or word that is asked for inside "
    "<answer> </answer>; this ends the task"
)


def write_prompt(
    goal: str, history: Sequence[Turn], observation: Observation, history_length: int
) -> PromptText:
    """Depends on no turn before the window, so a caller may leave those out.

    task      You answer a question ...
              Your question: Into which sea does the river of Alder Hill flow?

    situation What you did so far, and what came back:
              <search>Alder Hill river</search>
              <information>Doc 1 (Title: Alder Hill) Alder Hill lies on ...</information>

    request   Now it's your turn. ...
    """
    turns = "\n".join(_exchanges(history, observation, history_length))
    return PromptText(
        task=f"{_TASK}\nYour question: {goal}",
        situation=f"What you did so far, and what came back:\n{turns}" if turns else "",
        request=_REQUEST,
    )


def write_brief_prompt(
    goal: str, history: Sequence[Turn], observation: Observation, history_length: int
) -> PromptText:
    """For small policies that learned the form: it is not explained.

    situation Question: Into which sea does the river of Alder Hill flow?
              <search>Alder Hill river</search>
              <information>Doc 1 (Title: Alder Hill) Alder Hill lies on ...</information>

    request   Your turn. Question: Into which sea does the river of Alder Hill flow?

    The question stands first, so that passages are read with it in mind, and last, where it is
    easiest to read. With a window that spans the episode, a step's situation begins with that of
    the step before.
    """
    lines = (f"Question: {goal}", *_exchanges(history, observation, history_length))
    return PromptText("", "\n".join(lines), f"Your turn. Question: {goal}")


def _exchanges(history: Sequence[Turn], observation: Observation, history_length: int) -> list[str]:
    """Each action of the window, and what it brought, which is the observation of the next turn."""
    lines = list[str]()
    for turn, after in last_turns(history, observation, history_length):
        lines.append(turn.action.text or NOTHING_DONE)
        if after.text:
            lines.append(after.text)
    return lines
