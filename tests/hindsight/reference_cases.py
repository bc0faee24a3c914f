"""Whether a recorded case of the reference's routing and parsing is met, for tests.golden."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opid_lightning.hindsight.reply import AnalysisError, parse_reply
from opid_lightning.method.routing import select_sources
from opid_lightning.types import Skills
from tests.golden.reader import Case


def sources_agree(case: Case) -> bool:
    """Exact: the same values, or a ValueError where the reference raises one."""
    mode = {"mode": case.inputs["mode"]} if "mode" in case.inputs else {}
    try:
        sources = select_sources(
            case.inputs["step_skill"],
            case.inputs["episode_skill_enabled"],
            case.inputs["step_skill_enabled"],
            **mode,
        )
    except ValueError:
        return case.raises == "ValueError"
    wanted = (case.outputs.get("use_episode_skill"), case.outputs.get("use_step_skill"))
    return sources == wanted


def parsing_agrees(case: Case) -> bool:
    """At least as well as the reference.

    Ours may read more where the reference raised or came away with blanks, and may reject, by a
    named reason, a reply whose episode skill the reference found nowhere or in an inner object.
    """
    reply = case.inputs["response"]
    theirs = case.outputs.get("parsed")
    try:
        ours = parse_reply(reply).skills
    except AnalysisError:
        return theirs is None or not theirs["episode_skill"].strip() or is_inner(reply)
    if theirs is None or not theirs["episode_skill"].strip():
        return True
    return same_skills(ours, theirs)


def same_skills(ours: Skills, theirs: Mapping[str, Any]) -> bool:
    """Equal, the order of steps included. The reference's comma repair also edits texts."""
    return (
        repaired(ours.episode_summary) == theirs["episode_summary"]
        and repaired(ours.episode_skill) == theirs["episode_skill"]
        and [(index, repaired(text)) for index, text in ours.step_skills.items()]
        == list(theirs["step_skills"].items())
    ) or (
        (ours.episode_summary, ours.episode_skill, list(ours.step_skills.items()))
        == (theirs["episode_summary"], theirs["episode_skill"], list(theirs["step_skills"].items()))
    )


def repaired(text: str) -> str:
    return re.sub(r",\s*([}\]])", r"\1", text)


def is_inner(reply: str) -> bool:
    """Counts brackets outside strings: no `episode_skill` is a key of an outermost object."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: m.group().translate(BRACKETS_TO_SPACE), reply)
    depths, depth = [], 0
    for match in re.finditer(r"[\[{]|[\]}]|episode_skill", text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match.group(), 0)
        if match.group() == "episode_skill":
            depths.append(depth)
    return depth > 0 or 1 not in depths


BRACKETS_TO_SPACE = str.maketrans("[]{}", "    ")
