"""A rule of your own trains a policy: from Python, and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from opid_lightning.cli.verbs.table import main
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.method.rules.distillation import Distillation
from tests.keydoor_run import (
    GRPO,
    KeepExperience,
    analysing,
    assert_same_weights,
    fit,
    largest_difference,
)
from tests.method.rules.own import Decaying

MODULE = '''
from dataclasses import dataclass
from pathlib import Path

from opid_lightning.method.rules.rule import Rule


@dataclass(frozen=True)
class Mine(Rule):
    """Decays, and notes what it is told."""

    half_life: float = 10.0
    notes: str = "notes.txt"

    def advantages(self, outcome, delta, mask, iteration):
        self.note("advantages", iteration)
        return outcome + 0.5 ** (iteration / self.half_life) * delta

    def loss(self, logprobs, old, teacher, mask, iteration):
        self.note("loss", iteration)
        return -0.5 ** (iteration / self.half_life) * (teacher - old) * logprobs

    def note(self, face, iteration):
        with Path(self.notes).open("a") as file:
            file.write(f"{face} {iteration} {self.half_life}\\n")


class Broken(Mine):
    def advantages(self, outcome, delta, mask, iteration):
        return outcome + delta * float("nan")
'''
SHORT = [
    "conf=keydoor",
    "trainer.max_epochs=2",
    "trainer.limit_val_batches=0",
    "data.tasks_per_iteration=4",
    "rollout.group_size=4",
]


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "module_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_rule_of_your_own_trains_and_is_told_each_iteration(tmp_path: Path) -> None:
    rule, keep = Decaying(half_life=1.0), KeepExperience()
    callbacks = [*analysing(), keep]
    run = fit(tmp_path / "own", callbacks, iterations=2, method=Method(rule))
    assert set(rule.told) == {0, 1}
    assert run.metrics["loss/rule"] != 0
    scored = [s for s in keep.experience.samples if s.scored.skill_logprobs]
    assert scored, "no step was routed"
    for sample in scored:
        delta = sum(sample.scored.delta(level) for level in sample.scored.skill_logprobs)
        assert torch.allclose(sample.skill_advantage, 0.05 * delta, atol=1e-6)
    assert largest_difference(run, fit(tmp_path / "grpo", iterations=2, method=GRPO)) > 0


@pytest.mark.parametrize("rule", [Additive(0.0, 0.0), Distillation(scale=0.0)], ids=repr)
def test_a_rule_of_weight_zero_is_grpo_bit_for_bit(tmp_path: Path, rule: object) -> None:
    weightless = fit(tmp_path / "rule", method=Method(rule))  # type: ignore[arg-type]
    assert_same_weights(weightless, fit(tmp_path / "grpo", []))


def test_a_rule_of_your_own_trains_from_the_command_line(beside: Path) -> None:
    typed = ["method.rule.class_path=module_of_mine.Mine", "method.rule.half_life=3"]
    assert main(["fit", *SHORT, *typed, f"trainer.default_root_dir={beside / 'run'}"]) == 0
    noted = set((beside / "notes.txt").read_text().splitlines())
    assert noted == {f"{face} {n} 3.0" for face in ("advantages", "loss") for n in (0, 1)}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "method.rule.class_path=module_of_mine.Mine method.rule.half_lif=3",
            "method.rule.half_life",
        ),
        ("method.rule.episode_wieght=1", "method.rule.episode_weight"),
        ("method.normalize_delta=true", "method.normalise_delta"),
    ],
)
def test_a_misspelt_setting_of_a_rule_names_the_nearest(
    beside: Path, typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "conf=keydoor", *typed.split()]) == 2
    error = capsys.readouterr().err
    assert typed.split()[-1].partition("=")[0] in error
    assert f"Did you mean '{said}'?" in error


def test_a_rule_that_returns_no_numbers_ends_a_run_by_name(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["method.rule.class_path=module_of_mine.Broken", *SHORT]
    assert main(["fit", *typed, f"trainer.default_root_dir={beside / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "module_of_mine.Broken.advantages returned nan for response token" in error
    assert "Traceback" not in error
