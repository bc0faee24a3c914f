"""Classes that users bring are taken by names and parameters; what they miss is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.errors import is_for_the_user
from opid_lightning.cli.verbs.table import main

# Without `from __future__ import annotations`, so that `-> None` is a type and not a text.
MODULE = """
from contextlib import contextmanager
from typing import Iterator, List, Sequence

from opid_lightning.protocols import Generation
from opid_lightning.types import Analysis, Policy, Trajectory


class Typed:
    identity = "typed"

    def start(self) -> None:
        pass

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Untyped(Typed):
    def start(self):
        pass

    def __call__(self, trajectory, candidates, further=3):
        raise NotImplementedError


class OtherTypes(Typed):
    def __call__(self, trajectory: Trajectory, candidates: List[int]) -> "Analysis":
        raise NotImplementedError


class OtherNames(Typed):
    def __call__(self, played, candidates):
        raise NotImplementedError


class NoMethod:
    identity = "none"

    def start(self):
        pass

    def __call__(self, trajectory, candidates):
        raise NotImplementedError


class NoAttribute(NoMethod):
    identity = property(doc="not set")

    def close(self):
        pass


class Decorated:
    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        yield None


class Plain:
    def serving(self, policy):
        return None


class World:
    def __init__(self, max_steps: int = 3, level: int = 1):
        self.max_steps = max_steps
        if level > 2:
            raise ValueError(f"env.level is {level}; expected 1 or 2")
        if level < 0:
            int("a bug")

    def tasks(self, split):
        raise ValueError(f"no tasks of {split}: download them")

    def open(self):
        raise ValueError("a bug")

    def prompt(self, goal, history, observation):
        raise NotImplementedError

    def action(self, response, observation):
        raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def _beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brought.py").write_text(MODULE)
    (tmp_path / "unfinished.py").write_text("class World:\n    def tasks(\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "typed",
    [
        "analyst.class_path=brought.Typed",
        "analyst.class_path=brought.Untyped",
        "analyst.class_path=brought.OtherTypes",
        "sampler.class_path=brought.Decorated",
        "sampler.class_path=brought.Plain",
        "env.class_path=brought.World",
    ],
)
def test_annotations_do_not_matter(typed: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "conf=keydoor", typed, "--print_config"])
    assert stopped.value.code == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("analyst.class_path=brought.NoMethod", "implement Analyst (opid_lightning/protocols.py): "
         "expected def close(self)."),
        ("analyst.class_path=brought.OtherNames", "expected def __call__(self, trajectory, "
         "candidates), got __call__(self, played, candidates)."),
        ("analyst.class_path=brought.NoAttribute", "analyst: brought.NoAttribute has no identity"),
        ("sampler.class_path=brought.World", "expected def serving(self, policy)."),
        ("env.class_path=unfinished.World", "unfinished.World cannot be imported: SyntaxError: "),
        ("env.level=3 env.class_path=brought.World", "env.level is 3; expected 1 or 2"),
        ("env.class_path=brought.World ~callbacks.skill_extraction", "no tasks of train: download"),
    ],
)  # fmt: skip
def test_what_a_class_misses_is_named(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "conf=keydoor", *typed.split()]) == 2
    assert said in capsys.readouterr().err


def test_a_bug_in_a_constructor_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        main(["fit", "conf=keydoor", "env.class_path=brought.World", "env.level=-1"])


def test_an_own_class_may_refuse_in_tasks_and_not_while_it_is_played() -> None:
    from brought import World

    raised = []
    for call in (lambda: World().tasks("train"), lambda: World().open()):
        with pytest.raises(ValueError) as found:
            call()
        raised.append(is_for_the_user(found.value))
    assert raised == [True, False]
