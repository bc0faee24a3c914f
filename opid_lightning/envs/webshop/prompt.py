"""The user message: goal, the last turns, the page that is open, and what can be done there.

Two styles: `instructive` explains the shop and the form of an answer to a model that was never
trained on it; `brief` grows by a few lines a step and leaves out what every page has.
"""

from __future__ import annotations

from collections.abc import Sequence

from opid_lightning.envs.webshop import pages
from opid_lightning.envs.window import last_turns
from opid_lightning.types import Observation, PromptText, Turn

_REQUEST = (
    "Now it's your turn. Reason briefly about the next step inside <think> </think>, then write "
    "one action inside <action> </action>: one from the list above, or search[words] with words of "
    "your own where the list has search."
)
AS_BEFORE = "as before"


def write_prompt(
    goal: str, history: Sequence[Turn], observation: Observation, history_length: int
) -> PromptText:
    """Depends on no turn before the window, so a caller may leave those out.

    task      You shop in an online store through text commands.
              Your goal: i need a red cotton shirt, and price lower than 30.00 dollars

    situation What you did last:
              - You saw: Search
                You did: search[red cotton shirt]

              You see: Back to Search [SEP] Page 1 (Total results: 50) [SEP] ...
              Admissible actions: click[back to search], click[next >], click[b06y3vldfb], ...

    request   Now it's your turn. ...
    """
    recent = history[-history_length:] if history_length else ()
    now = f"You see: {observation.text}"
    if observation.admissible:
        now += f"\nAdmissible actions: {', '.join(observation.admissible)}"
    turns = "\n".join(
        f"- You saw: {turn.observation.text}\n  You did: {turn.action.text}" for turn in recent
    )
    return PromptText(
        task=f"You shop in an online store through text commands.\nYour goal: {goal}",
        situation=f"What you did last:\n{turns}\n\n{now}" if turns else now,
        request=_REQUEST,
    )


def write_brief_prompt(
    goal: str, history: Sequence[Turn], observation: Observation, history_length: int
) -> PromptText:
    """For small policies that learned the commands: they are not listed, and little is said.

    situation search
              > search[red cotton shirt]
              page 1, kilo-17 acme slim fit cotton shirt $24.0, lima-31 ..., more
              > click[kilo-17]
              color, red, blue, size, small, large, acme slim fit cotton shirt, $24.0
              > click[< prev]
              as before

    request   Your turn. Your goal: i need a red cotton shirt, ...

    The goal is said last, where it is easiest to read. With a window that spans the episode, the
    tokens of a step's situation begin with those of the step before. The first line is the
    oldest observation given, whatever the window. A page that stands above is not written again.
    """
    pages_shown = [brief(history[0].observation if history else observation)]
    lines = [*pages_shown]
    for turn, after in last_turns(history, observation, history_length):
        page = brief(after)
        lines.append(f"> {turn.action.text}\n{AS_BEFORE if page in pages_shown else page}")
        pages_shown.append(page)
    return PromptText("", "\n".join(lines), f"Your turn. Your goal: {goal}")


def brief(observation: Observation) -> str:
    """A page in one line, less the buttons that tell nothing."""
    texts = observation.text.split(pages.SEPARATOR)
    kept = [text for text in texts if text not in pages.BUTTONS or texts == [pages.SEARCH]]
    if kept and kept[0].startswith("Page "):
        number, products = kept[0].partition(" (")[0], kept[1:]
        kept = [number, *(" ".join(products[i : i + 3]) for i in range(0, len(products), 3))]
    kept += ["more"] if pages.NEXT in texts else []
    shown = (text.removeprefix("Price: ") for text in kept if not text.startswith("Rating:"))
    return ", ".join(shown).lower()
