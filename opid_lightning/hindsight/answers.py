"""The gate through which everything that an analyst returns enters a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from opid_lightning.gate import line_of, name_of, plain, shown, text
from opid_lightning.hindsight.analysis_rows import FAILURE, USAGE
from opid_lightning.hindsight.cache import Question
from opid_lightning.protocols import Analyst, ReadsKind
from opid_lightning.types import Analysis, Skills, Usage


def identity_of(analyst: Analyst, kind: str) -> str:
    """Part of the key of each analysis, by the task's kind. Raises ValueError unless a text."""
    identity = analyst.identity_for(kind) if isinstance(analyst, ReadsKind) else analyst.identity
    try:
        return text(identity)
    except TypeError as error:
        raise ValueError(
            f"{name_of(analyst)}: identity is {shown(identity)}; expected {error}: an "
            "attribute, or a method with @property. Fix it in the analyst."
        ) from error


def ask(analyst: Analyst, question: Question) -> Analysis:
    """What the analyst answers, with Python's own numbers for numpy's.

    Raises ValueError, naming the analyst and the trajectory, for any other type.
    """
    where = f"{name_of(analyst)}: the analysis of {question.trajectory.id!r}"
    try:
        answer = analyst(question.trajectory, question.candidates)
    except SystemExit as error:
        raise ValueError(
            f"{where} ended by sys.exit({error.code!r}){line_of(error)}; expected it to return or "
            "to raise an error. Fix it in the analyst."
        ) from error
    try:
        return as_declared(answer)
    except TypeError as error:
        raise ValueError(f"{where} returned {error}. Fix it in the analyst.") from error


def as_declared(answer: object) -> Analysis:
    """Raises TypeError with what was got and what was expected."""
    if not isinstance(answer, Analysis):
        raise refused("", answer, "Analysis(skills) of opid_lightning.types")
    skills = None if answer.skills is None else skills_of(answer.skills)
    failure, detail = (
        text_of(f"Analysis.{name}", getattr(answer, name)) for name in ("failure", "detail")
    )
    if skills is None and not FAILURE.fullmatch(failure):
        expected = "a short name in lower case, such as 'refused', where there are no skills"
        raise refused("Analysis.failure=", failure, expected)
    return dataclasses.replace(
        answer, skills=skills, failure=failure, detail=detail, usage=usage_of(answer.usage)
    )


def skills_of(answer: object) -> Skills:
    """The skills with plain texts and whole numbers; raises TypeError for anything else."""
    if not isinstance(answer, Skills):
        raise refused("Analysis.skills=", answer, "Skills of opid_lightning.types, or None")
    if not isinstance(answer.step_skills, Mapping):
        raise refused("Skills.step_skills=", answer.step_skills, "texts by the number of the step")
    return Skills(
        text_of("Skills.episode_skill", answer.episode_skill),
        {step_of(key): text_of("a step skill", said) for key, said in answer.step_skills.items()},
        text_of("Skills.episode_summary", answer.episode_summary),
    )


def usage_of(answer: object) -> Usage:
    """What was used, as plain numbers; raises TypeError for anything else."""
    if not isinstance(answer, Usage):
        raise refused("Analysis.usage=", answer, "Usage of opid_lightning.types")
    amounts: dict[str, Any] = {name: amount_of(name, getattr(answer, name)) for name in USAGE}
    return Usage(**amounts)


def amount_of(name: str, value: object) -> float:
    """A number of at least 0, whole unless it is a cost; raises TypeError for anything else."""
    number = plain(value)
    kinds = (int, float) if name == "cost" else int
    if isinstance(number, bool) or not isinstance(number, kinds) or not 0 <= number < 2**63:
        whole = "" if name == "cost" else "whole "
        raise refused(f"Usage.{name}=", value, f"a {whole}number of at least 0")
    return number


def step_of(key: object) -> int:
    """The 0-based number of a step; raises TypeError where it is no whole number."""
    number = plain(key)
    if isinstance(number, bool) or not isinstance(number, int):
        raise refused("the step of a step skill as ", key, "its number, a whole one")
    return number


def text_of(name: str, value: object) -> str:
    """The text; raises TypeError, naming the field, for anything else."""
    try:
        return text(value)
    except TypeError as error:
        raise refused(f"{name}=", value, str(error)) from error


def refused(name: str, value: object, expected: str) -> TypeError:
    """The error that says what was got and what is expected."""
    return TypeError(f"{name}{shown(value)}; expected {expected}")
