"""The examples train as they stand, from Python and by the commands that their docstrings show."""

from __future__ import annotations

import ast
import csv
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from opid_lightning import (
    Action,
    Analyst,
    Environment,
    Observation,
    PromptText,
    Rule,
    Session,
    Skills,
    Step,
    Task,
    Trajectory,
)
from opid_lightning.types import Completion, Prompt

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
SHORT = (
    "trainer.max_epochs=1 trainer.limit_val_batches=0 data.tasks_per_iteration=2 "
    "rollout.group_size=2 ~callbacks.hf_export trainer.default_root_dir=run"
)
CORRECTION = "Choose one of these: left, open."


def commands_of(name: str) -> list[str]:
    """The `python -m` commands of an example's docstring, comments left out."""
    document = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text())) or ""
    joined = re.sub(r"\\\n\s*", "", document)
    return re.findall(r"^\s*python -m opid_lightning ([^#\n]*)", joined, re.M)


def trajectory(*actions: tuple[str, bool], won: bool = False) -> Trajectory:
    """A finished attempt of these actions, each valid or not."""
    seen = Observation("Two doors.", ("left", "open"))
    prompt = Prompt(PromptText("", "", ""), (1,), 0)
    answer = Completion("", (2,), (-1.0,), "", is_cut=False)
    steps = tuple(
        Step(index, seen, prompt, answer, Action(text, valid), 0.0)
        for index, (text, valid) in enumerate(actions)
    )
    return Trajectory(Task("one", "doors"), 0, "leave", steps, won)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Imports examples as they import one another, in a folder that a run may write to."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_training_from_python_takes_fewer_than_30_lines() -> None:
    tree = ast.parse((EXAMPLES / "train.py").read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert (function.end_lineno or 0) - function.lineno + 1 < 30


def test_train_trains(modules: Any, tmp_path: Path) -> None:
    trainer = modules("train").train(iterations=1)
    assert trainer.current_epoch == 1
    assert len(rows_of(tmp_path / "runs")) == 1
    assert float(rows_of(tmp_path / "runs")[0]["analysis/succeeded"]) == 16 * 8


def test_the_environment_keeps_the_promises_of_environments(modules: Any) -> None:
    echo = modules("environment").Echo()
    session = echo.open()
    assert isinstance(echo, Environment)
    assert isinstance(session, Session)
    ids = [
        task.id for split in ("train", "valid_seen", "valid_unseen") for task in echo.tasks(split)
    ]
    assert len(set(ids)) == len(ids) == 4**3
    for task in echo.tasks("valid_seen"):
        for _ in range(2):  # a used session starts over
            session.reset(task)
            seen = [session.step(word) for word in ("nonsense", *task.payload)]
            assert [o.reward for o in seen] == [0.0, 1.0, 1.0, 1.0]
            assert [o.won for o in seen] == [False, False, False, True]
    with pytest.raises(ValueError, match=r"env\.num_words is 6; expected 2 to env\.max_steps"):
        modules("environment").Echo(num_words=6)


def test_the_weight_of_the_rule_halves_with_the_half_life(modules: Any) -> None:
    rule = modules("rule").Fading(initial_weight=0.4, half_life=5.0)
    outcome, delta = torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0, 0.0], [1.0, -1.0]])
    for iteration, weight in ((0, 0.4), (5, 0.2), (10, 0.1)):
        credit = rule.advantages(outcome, delta, torch.ones(2, 2), iteration)
        assert torch.allclose(credit, outcome + weight * delta)
    assert isinstance(rule, Rule)
    with pytest.raises(ValueError, match=r"method\.rule\.half_life is 0; expected more than 0"):
        modules("rule").Fading(half_life=0)


def test_own_environment_rule_and_analyst_train_together(modules: Any, tmp_path: Path) -> None:
    heard = list[int]()

    class Listening(modules("rule").Fading):  # type: ignore[misc]
        def advantages(self, outcome: Any, delta: Any, mask: Any, iteration: int) -> Any:
            heard.append(iteration)
            return super().advantages(outcome, delta, mask, iteration)

    analyst = modules("analyst").Listed()
    assert isinstance(analyst, Analyst)
    modules("train").train(modules("environment").Echo(), Listening(), analyst, iterations=2)
    assert heard == [0, 1]
    assert [float(r["analysis/succeeded"]) for r in rows_of(tmp_path / "runs")] == [16 * 8] * 2


def test_the_analyst_tells_what_worked_and_corrects_invalid_actions(modules: Any) -> None:
    analyst = modules("analyst").Listed(max_step_skills=1)
    lost = analyst(trajectory(("left", True), ("jump", False), ("fly", False)), range(3))
    assert lost.skills == Skills("Choose only actions that are listed.", {1: CORRECTION})
    assert analyst(trajectory(("jump", False)), ()).skills.step_skills == {}
    won = analyst(trajectory(("left", True), ("open", True), won=True), range(2))
    assert won.skills == Skills("This worked: left, then open.", {})
    assert analyst(trajectory(), ()).failure == "no_steps"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_the_docstring_runs(name: str, tmp_path: Path) -> None:
    commands = commands_of(name)
    assert commands
    for command in commands:
        verb, *words = shlex.split(command)
        short = SHORT.split() if verb == "fit" else []
        done = subprocess.run(
            [sys.executable, "-m", "opid_lightning", verb, *words, *short],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{EXAMPLES}{os.pathsep}{ROOT}"},
            input="left\nleft\n",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if verb == "fit":
            assert len(rows_of(tmp_path / "run")) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_how_it_is_run_and_the_documents_link_it(name: str) -> None:
    document = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text())) or ""
    assert f"python {name}.py" in document
    assert f"examples/{name}.py" in (ROOT / "README.md").read_text()
    assert f"examples/{name}.py" in (ROOT / "docs" / "python.md").read_text()
