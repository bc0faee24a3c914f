"""Reading an analyst's reply."""

from __future__ import annotations

from collections.abc import Mapping

from opid_lightning.skills.object_literals import ObjectsFound, find_objects
from opid_lightning.types import Skills

MAX_REPLY_CHARACTERS = 131_072
# How a model writes that it has nothing to say.
BLANK = ("", "none", "null")


class AnalysisError(Exception):
    """A reply that cannot be used. `reason` is a short name, which is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def parse_reply(reply: str | None) -> Skills:
    """The skills of a reply: its first outermost object with a key `episode_skill`.

    Fenced blocks come before the rest. An object inside another object or a list is never the
    answer, nor is what is left of a cut one. Raises AnalysisError with reason `empty`,
    `too_long`, `not_json` (no object at all), `truncated` (it ends inside one) or
    `missing_field` (objects, but none with an episode skill).

    Values are turned to text, and step keys to whole numbers as `int` does it; keys that are
    none are left out.
    """
    if not isinstance(reply, str) or not reply.strip():
        raise AnalysisError("empty", f"the reply is {reply!r}")
    if len(reply) > MAX_REPLY_CHARACTERS:
        raise AnalysisError(
            "too_long", f"{len(reply)} characters, expected at most {MAX_REPLY_CHARACTERS}"
        )
    answer = choose_answer(find_objects(reply), reply)
    return Skills(
        episode_skill=str(answer["episode_skill"]),
        step_skills=read_step_skills(answer.get("step_skills")),
        episode_summary=str(answer.get("episode_summary", "")),
    )


def choose_answer(found: ObjectsFound, reply: str) -> Mapping[object, object]:
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
    return repr(reply[-80:])


def read_step_skills(value: object) -> dict[int, str]:
    """Whatever is no mapping holds no step skills. A later key replaces an equal earlier one."""
    if not isinstance(value, Mapping):
        return {}
    indexed = ((step_index(key), skill) for key, skill in value.items())
    return {index: str(skill) for index, skill in indexed if index is not None}


def step_index(key: object) -> int | None:
    """ " 3 ", "007", 2.9 and True are steps 3, 7, 2 and 1; "3.0", "first" and null are none."""
    if not isinstance(key, str | int | float):
        return None
    try:
        return int(key)
    except (ValueError, OverflowError):
        return None


def keep_valid(
    skills: Skills, num_steps: int, max_step_skills: int, max_characters: int = 4000
) -> Skills:
    """The skills that can be used on a trajectory of `num_steps` steps.

    Step skills that are blank or of steps that do not exist are left out, and of the others the
    first `max_step_skills` are kept in the analyst's own order. Raises AnalysisError for a blank
    episode skill (`blank_skill`) and a skill of more than `max_characters` (`too_long`).
    """
    episode_skill = clean(skills.episode_skill)
    if not episode_skill:
        raise AnalysisError("blank_skill", f"the episode skill is {skills.episode_skill!r}")
    existing = {
        index: text
        for index, skill in skills.step_skills.items()
        if 0 <= index < num_steps and (text := clean(skill))
    }
    kept = dict(list(existing.items())[:max_step_skills])
    longest = max(len(skill) for skill in (episode_skill, *kept.values()))
    if longest > max_characters:
        raise AnalysisError(
            "too_long", f"a skill of {longest} characters, expected at most {max_characters}"
        )
    return Skills(episode_skill, kept, clean(skills.episode_summary))


def clean(text: str) -> str:
    """Without surrounding space; half characters, which nothing can encode, become `?`."""
    stripped = text.strip().encode("utf-8", "replace").decode("utf-8")
    return "" if stripped.lower() in BLANK else stripped
