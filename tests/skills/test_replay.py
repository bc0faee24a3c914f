import json

import pytest

from opid_lightning.protocols import AnalysisError
from opid_lightning.skills.replay import Replay, record, trajectory_key
from opid_lightning.types import Skills
from tests.builders import step_of, trajectory_of

TRAJECTORY = trajectory_of(step_of(0, "look", "A."), step_of(1, "wait", "B."))
SKILLS = Skills("Search é.", {9: "a", 2: "b"}, "s")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "new folder" / "analyses.jsonl")


def test_a_recorded_analysis_comes_back_in_its_order(path):
    record(path, TRAJECTORY, SKILLS)
    skills = Replay(path)(TRAJECTORY)
    assert skills == SKILLS
    assert list(skills.step_skills) == [9, 2]


def test_a_recorded_failure_fails_again_for_the_same_reason(path):
    record(path, TRAJECTORY, "truncated")
    with pytest.raises(AnalysisError) as error:
        Replay(path)(TRAJECTORY)
    assert error.value.reason == "truncated"


def test_the_last_line_of_a_trajectory_counts(path):
    record(path, TRAJECTORY, "empty")
    record(path, TRAJECTORY, SKILLS)
    assert Replay(path)(TRAJECTORY) == SKILLS


def test_a_trajectory_that_was_not_recorded_is_named(path):
    record(path, TRAJECTORY, SKILLS)
    with pytest.raises(AnalysisError, match=r"not_recorded: .*analyses.jsonl.* other#3"):
        Replay(path)(trajectory_of(step_of(0, "jump"), task_id="other", attempt=3))


def test_the_key_is_what_an_analyst_reads_and_nothing_else():
    steps = TRAJECTORY.steps
    key = trajectory_key(TRAJECTORY)
    assert trajectory_key(trajectory_of(*steps, task_id="x", attempt=7)) == key
    assert trajectory_key(trajectory_of(*steps, won=True)) != key
    assert trajectory_key(trajectory_of(*steps, goal="sleep")) != key
    assert trajectory_key(trajectory_of(steps[0])) != key
    for changed in (
        step_of(0, "look", "C."),
        step_of(0, "jump", "A."),
        step_of(0, "look", "A.", reward=1.0),
    ):
        assert trajectory_key(trajectory_of(changed, steps[1])) != key


def test_a_missing_file_is_named_with_what_makes_one(tmp_path):
    with pytest.raises(ValueError, match=r"none\.jsonl', which is no file.*SkillExtraction"):
        Replay(str(tmp_path / "none.jsonl"))


GOOD_LINE = json.dumps(
    {"key": "k", "episode_skill": "e", "episode_summary": "s", "step_skills": {}}
)


@pytest.mark.parametrize(
    "line",
    [
        GOOD_LINE[:-5],
        "\udcff",
        "[]",
        "7",
        '{"failure": "empty"}',
        GOOD_LINE.replace("episode_skill", "skill"),
        GOOD_LINE.replace("{}", "[1]"),
        GOOD_LINE.replace("{}", '{"first": "a"}'),
    ],
)
def test_an_unreadable_line_is_named_when_the_analyst_is_made(tmp_path, line):
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{GOOD_LINE}\n\n{line}\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=r"bad\.jsonl line 3 is not a recorded analysis"):
        Replay(str(path))
