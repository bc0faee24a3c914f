"""A class, module or field that is not there is answered with the one that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.verbs.table import main

MODULE = """
import math
from fractions import Fraction


class Mentor:
    pass


class Teacher:
    pass
"""


@pytest.fixture(autouse=True)
def _beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_mentors.py").write_text(MODULE)
    (tmp_path / "imports_more.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("analyst.class_path=my_mentors.Mentr", "has no attribute 'Mentr'. Did you mean 'Mentor'?"),
        ("analyst.class_path=my_mentors.Qq", "no attribute 'Qq'. There are: Mentor, Teacher."),
        ("method.rule.class_path=opid_lightning.Aditive", "Did you mean 'Additive'?"),
        ("sampler.class_path=my_mentors.Fractoin", "Did you mean 'Fraction'?"),
        ("env.class_path=my_mentor.Mentor", "'my_mentor'. Did you mean 'my_mentors'?"),
        ("env.class_path=imports_more.World", "No module named 'no_such_package', which "
         "imports_more.World imports. Install it, or fix the import."),
        ("callbacks.mine.class_path=my_mentor.Mentor", "Did you mean 'my_mentors'?"),
        ("trainer.profiler.class_path=my_mentor.Mentor", "Did you mean 'my_mentors'?"),
        ("optimizer.class_path=torch.optim.Adamm", "Did you mean 'Adam'?"),
        ("optimizer.class_path=torch.optm.Adam", "has no attribute 'optm'. Did you mean 'optim'?"),
        ("callbacks.skill_extraction.statistics.variance_quantle=1", "Did you mean "
         "'callbacks.skill_extraction.statistics.variance_quantile'?"),
        ("callbacks.skill_extraction.statistics.foo=1", "There are: "
         "callbacks.skill_extraction.statistics."),
    ],
)  # fmt: skip
def test_what_was_meant(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "conf=keydoor", typed, "--dry-run"]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert f"Set on the command line: {typed}" in printed


def test_a_module_like_no_other_is_said_to_be_searched_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "conf=keydoor", "env.class_path=qqqq.World"]) == 2
    assert f"No module named 'qqqq'. Modules are searched in {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("fit conf=search env.retriever.ur=http://x", "Did you mean 'env.retriever.url'?"),
        ("play conf=keydoor gam=3", "play does not use gam=3. Did you mean 'game'? It reads env, "),
        ("play conf=keydoor qqq=3", "play does not use qqq=3. It reads env, "),
        ("play conf=keydoor ckpt_path=a.ckpt game=1", "is in the run's folder: policy.path=RUN/"),
        ("retriever corpsu=a.jsonl", "does not use corpsu=a.jsonl. Did you mean 'corpus'? It re"),
    ],
)
def test_of_a_field_and_of_other_verbs(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    assert said in capsys.readouterr().err
