"""Replay: an analyst that repeats recorded analyses; and the record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opid_lightning.types import Analysis, Skills, Trajectory


@dataclass(frozen=True)
class Replay:
    """Looks each trajectory up by its content in a file that `record` wrote.

    The file holds one analysis a line, skills or a failure:

        {"key": "9f…", "trajectory": "game-7#2", "episode_summary": "…",
         "episode_skill": "…", "step_skills": {"3": "…"}}
        {"key": "41…", "trajectory": "game-7#3", "failure": "truncated"}

    Where a key comes again, its last line counts. A trajectory without a line raises
    AnalysisError `not_recorded`.
    """

    path: str
    analyses: Mapping[str, Skills | str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "analyses", read_record(Path(self.path)))

    @property
    def identity(self) -> str:
        return f"{self!r} 1"

    def start(self) -> None:
        """Read when made."""

    def close(self) -> None:
        """Holds nothing open."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        analysis = self.analyses.get(trajectory_key(trajectory))
        if analysis is None:
            return Analysis(None, "not_recorded", f"{self.path} has none of {trajectory.id}")
        if isinstance(analysis, str):
            return Analysis(None, analysis, f"so recorded in {self.path} for {trajectory.id}")
        return Analysis(analysis)


def trajectory_key(trajectory: Trajectory) -> str:
    """Equal for trajectories that an analyst cannot tell apart, whatever their task or attempt."""
    content = [
        trajectory.goal,
        trajectory.won,
        [(s.observation.text, s.completion.text, s.reward) for s in trajectory.steps],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def record(path: str, trajectory: Trajectory, analysis: Skills | str) -> None:
    """Appends one analysis: the skills, or the reason for their failure."""
    if isinstance(analysis, str):
        outcome: dict[str, Any] = {"failure": analysis}
    else:
        outcome = dataclasses.asdict(analysis)
    line = {"key": trajectory_key(trajectory), "trajectory": trajectory.id, **outcome}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_record(path: Path) -> dict[str, Skills | str]:
    if not path.is_file():
        raise ValueError(
            f"Replay.path is {str(path)!r}, which is no file. Record one with "
            "SkillExtraction's setting `record`."
        )
    lines = path.read_bytes().splitlines()
    return dict(read_line(line, f"{path} line {n}") for n, line in enumerate(lines, 1) if line)


def read_line(line: bytes, place: str) -> tuple[str, Skills | str]:
    try:
        content = json.loads(line)
        if "failure" in content:
            return str(content["key"]), str(content["failure"])
        step_skills = {int(index): str(text) for index, text in content["step_skills"].items()}
        skills = Skills(content["episode_skill"], step_skills, content["episode_summary"])
        return str(content["key"]), skills
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{place} is not a recorded analysis ({type(error).__name__}: {error}); "
            "remove the line or record it anew."
        ) from error
