"""Bank: an analyst that says the same of every attempt at a kind of task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from opid_lightning.files.omissions import warn_once
from opid_lightning.hindsight.bank_file import BankFile, read_bank
from opid_lightning.types import Analysis, Skills, Trajectory

GENERAL_ALONE = "general skills alone"  # how the detail of such an analysis begins

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bank:
    """Gives every trajectory the static skills of its task's kind: the general ones and its own.

    It reads nothing of the trajectory but `task.kind`, and asks no model. Where the bank does not
    have the kind, the general skills are given alone; `analysis/general_alone` counts these
    trajectories, and each such kind is said once. Raises ValueError for a file that is no bank.
    """

    path: str  # a YAML or JSON file, or a bank that ships: alfworld, webshop, search, keydoor
    # as other analysts take it, so that recipes may set it; a bank writes no step skills
    max_step_skills: int | None = None
    skills: BankFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "skills", read_bank(self.path))

    @property
    def identity(self) -> str:
        """The general skills; see `identity_for`."""
        return f"Bank 1: {self.skills.general}"

    def identity_for(self, kind: str) -> str:
        """All that is said of a kind, so that a changed file is read again."""
        return f"Bank 1: {self._answer(kind)}"

    def start(self) -> None:
        """Read when made."""

    def close(self) -> None:
        """Holds nothing open."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """An episode skill for every step; no step skills."""
        kind = trajectory.task.kind
        if kind not in self.skills.kinds:
            known = ", ".join(self.skills.kinds) or "none"
            warn_once(
                _log,
                f"The bank analyst.path={self.path} has no skills for tasks of kind {kind!r}, only "
                f"for these: {known}. Such tasks get the general skills alone; "
                "analysis/general_alone counts them.",
            )
        return self._answer(kind)

    def _answer(self, kind: str) -> Analysis:
        is_known = kind in self.skills.kinds
        detail = "" if is_known else f"{GENERAL_ALONE}: the bank has no kind {kind!r}"
        return Analysis(Skills(self.skills.skill_for(kind), {}), detail=detail)
