"""Reading an analyst's reply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from opid_lightning.hindsight.object_literals import ObjectsFound, find_objects
from opid_lightning.hindsight.plain_text import plain_line, plain_lines
from opid_lightning.types import Skills

Reason = Literal[
    "empty",
    "too_long",
    "not_json",  # no object at all
    "truncated",  # ends inside its object
    "missing_field",  # objects, but none with an episode skill
    "blank_skill",
    "step_out_of_range",  # step skills, but none of a candidate
]
REASONS: tuple[Reason, ...] = get_args(Reason)

MAX_REPLY_CHARACTERS = 131_072
MAX_DETAIL_CHARACTERS = 500  # it may quote the reply
# How a model writes that it has nothing to say.
BLANK = ("", "none", "null")
UNREAD = "unread_step"  # a key of a step skill that is no whole number


class AnalysisError(Exception):
    """A reply that cannot be used. `reason` is a short name, which is counted."""

    def __init__(self, reason: Reason, detail: str) -> None:
        if len(detail) > MAX_DETAIL_CHARACTERS:
            detail = f"{detail[:MAX_DETAIL_CHARACTERS]}…"
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Reply:
    """What a reply says, not yet held against the trajectory."""

    skills: Skills
    left_out: Mapping[str, int] = field(default_factory=dict)  # of step skills, by reason


@dataclass(frozen=True)
class Kept:
    """The skills that can be used, and how many step skills were left out for which reason."""

    skills: Skills
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def detail(self) -> str:
        """`left out: 2 step_out_of_range, 1 blank`; blank where nothing was."""
        counts = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"left out: {counts}" if counts else ""


def parse_reply(reply: str | None) -> Reply:
    """The skills of a reply: its first outermost object with a key `episode_skill`.

    Fenced blocks come before the rest. An object inside another object or a list is never the
    answer, nor is what is left of a cut one. Raises AnalysisError with reason `empty`,
    `too_long`, `not_json`, `truncated` or `missing_field`.

    Values are turned to text, and step keys to whole numbers as `int` does it.
    """
    if not isinstance(reply, str) or not reply.strip():
        raise AnalysisError("empty", f"the reply is {reply!r}")
    if len(reply) > MAX_REPLY_CHARACTERS:
        raise AnalysisError(
            "too_long", f"{len(reply)} characters, expected at most {MAX_REPLY_CHARACTERS}"
        )
    answer = choose_answer(find_objects(reply), reply)
    step_skills, left_out = read_step_skills(answer.get("step_skills"))
    skills = Skills(
        episode_skill=str(answer["episode_skill"]),
        step_skills=step_skills,
        episode_summary=str(answer.get("episode_summary", "")),
    )
    return Reply(skills, left_out)


def choose_answer(found: ObjectsFound, reply: str) -> Mapping[object, object]:
    """The first object with an episode skill.

    Raises AnalysisError, which says why there is none.
    """
    for candidate in found.objects:
        if "episode_skill" in candidate:
            return candidate
    if found.is_cut:
        raise AnalysisError("truncated", f"the reply ends inside its object: {ending(reply)}")
    if found.objects:
        keys = [str(key) for key in found.objects[0]]
        raise AnalysisError("missing_field", f"no episode_skill among the keys {keys[:10]}")
    if found.has_list:
        raise AnalysisError("missing_field", "the reply is a list; expected one object")
    raise AnalysisError("not_json", f"no readable object in the reply: {ending(reply)}")


def ending(reply: str) -> str:
    """The end of a reply, quoted for a message."""
    return repr(reply[-80:])


def read_step_skills(value: object) -> tuple[dict[int, str], dict[str, int]]:
    """The step skills, and what else stands there. Of equal steps the last counts."""
    if not isinstance(value, Mapping):
        is_none = not value or str(value).strip().lower() in BLANK
        return {}, {} if is_none else {"not_by_step": 1}
    indexed = [(step_index(key), skill) for key, skill in value.items()]
    step_skills = {index: str(skill) for index, skill in indexed if index is not None}
    num_unread = sum(index is None for index, _ in indexed)
    return step_skills, {UNREAD: num_unread} if num_unread else {}


def step_index(key: object) -> int | None:
    """ " 3 ", "007", 2.9 and True are steps 3, 7, 2 and 1; "3.0", "first" and null are none."""
    if not isinstance(key, str | int | float):
        return None
    try:
        return int(key)
    except (ValueError, OverflowError):
        return None


def keep_valid(
    reply: Reply, candidates: Collection[int], max_step_skills: int, max_characters: int = 4000
) -> Kept:
    """The skills that can be used where `candidates` are the steps that step skills may be of.

    Step skills that are blank or of other steps are left out, and of the rest the first
    `max_step_skills` are kept in the analyst's own order. All texts are made plain. Raises
    AnalysisError for a blank episode skill (`blank_skill`), a text of more than `max_characters`
    (`too_long`), and where step skills were wanted and none is of a candidate
    (`step_out_of_range`).
    """
    said = reply.skills
    episode_skill = usable(
        plain_lines(shorten(said.episode_skill, "episode_skill", max_characters))
    )
    if not episode_skill:
        raise AnalysisError("blank_skill", f"the episode skill is {said.episode_skill!r}")
    summary = usable(plain_lines(shorten(said.episode_summary, "episode_summary", max_characters)))
    if max_step_skills and candidates:
        check_any_in_range(reply, candidates)
    kept: dict[int, str] = {}
    left_out = Counter(reply.left_out)
    for index, skill in said.step_skills.items():
        if index not in candidates:
            left_out["step_out_of_range"] += 1
        elif len(kept) == max_step_skills:
            left_out["over_max_step_skills"] += 1
        elif text := usable(plain_line(shorten(skill, f"step skill {index}", max_characters))):
            kept[index] = text
        else:
            left_out["blank_step_skill"] += 1
    return Kept(Skills(episode_skill, kept, summary), dict(left_out))


def check_any_in_range(reply: Reply, candidates: Collection[int]) -> None:
    """A reply without step skills is fine, one that only has unusable ones is not."""
    steps, num_unread = reply.skills.step_skills, reply.left_out.get(UNREAD, 0)
    if (steps or num_unread) and not any(index in candidates for index in steps):
        raise AnalysisError(
            "step_out_of_range",
            f"step skills of {list(steps)[:10]} and of {num_unread} keys that are no step; "
            f"expected of {list(candidates)[:50]}",
        )


def shorten(text: str, name: str, max_characters: int) -> str:
    """The text as it is; raises AnalysisError "too_long" above `max_characters`."""
    if len(text.strip()) <= max_characters:
        return text
    raise AnalysisError(
        "too_long",
        f"{name} has {len(text.strip())} characters, expected at most {max_characters}",
    )


def usable(text: str) -> str:
    """The text, or blank where it is a way to say nothing, such as "none" or "n/a"."""
    return "" if text.lower() in BLANK else text
