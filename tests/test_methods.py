"""Every `method=NAME`: what holds for all of them, and what sets them apart."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from opid_lightning.cli.config.choices import groups
from opid_lightning.cli.config.composition import composed
from opid_lightning.cli.verbs.table import main
from opid_lightning.method.loss import Loss
from opid_lightning.method.rules.rule import Rule
from tests.method.batches import batch_of, random_rows, totals_of_rows
from tests.method.rows import credited, played, scored

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods.md"
METHODS = groups()["method"]
WITHOUT_RULE = ("grpo", "gigpo")  # whose weights are 0
BANK = {"rlsd", "skill_sd", "sdar", "grpo_opsd", "grpo_opsd_script", "opsd"}
SHARING = {"rlsd", "step_opsd"}  # a factor of the advantage
GATED = {"sdar", "grpo_opsd_script", "opsd"}
WEIGHTS = ("scale", "episode_weight", "step_weight")
SHORT = [
    "trainer.max_epochs=2",
    "trainer.limit_val_batches=0",
    "data.tasks_per_iteration=4",
    "rollout.group_size=4",
    "~callbacks.hf_export",
    "~callbacks.checkpoint",
]


def settings_of(method: str, conf: str = "keydoor") -> dict[str, Any]:
    return composed(conf, {"method": method})[0]


def rule_of(method: str, **changes: float) -> Rule:
    chosen = settings_of(method)["method"]["rule"]
    module, name = chosen["class_path"].rsplit(".", 1)
    rule: Rule = getattr(import_module(module), name)(**{**chosen["init_args"], **changes})
    return rule


def weightless(method: str) -> Rule:
    init_args = settings_of(method)["method"]["rule"]["init_args"]
    return rule_of(method, **{name: 0.0 for name in WEIGHTS if name in init_args})


def attempts(rewards: tuple[float, ...], **skills: tuple[float, float]) -> list[Any]:
    return [scored(played(each, 1, attempt=n), **skills) for n, each in enumerate(rewards)]


def loss_and_gradient(rule: Rule, same: bool = False, **changed: Any) -> tuple[float, torch.Tensor]:
    """Of a batch whose teacher, if `same`, says what the policy says."""
    rows = random_rows([3, 2, 4, 1], 4) | changed
    rows["advantages"] = rows["advantages"].float()
    if same:
        rows["skill_logprobs"] = rows["old_logprobs"] * rows["routed_mask"]
        rows["logprobs"] = rows["old_logprobs"]
    logprobs = rows["logprobs"].clone().requires_grad_()
    terms = Loss()(logprobs, None, batch_of(rows, totals_of_rows(rows)), rule)
    return terms.loss.item(), torch.autograd.grad(terms.loss, logprobs)[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("iteration", [0, 37])
def test_weight_zero_is_grpo_bit_for_bit(method: str, iteration: int) -> None:
    steps = attempts((0.1, 0.7, 0.9), episode=(-0.3, -2.7))
    rule = weightless(method)
    ours, grpo = credited(steps, rule, iteration=iteration), credited(steps, Rule())
    for one, other in zip(ours, grpo, strict=True):
        assert torch.equal(one.advantages, other.advantages)
    (loss, gradient), (plain, plain_gradient) = loss_and_gradient(rule), loss_and_gradient(Rule())
    assert loss == plain
    assert torch.equal(gradient, plain_gradient)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("iteration", [0, 37])
def test_a_skill_that_moves_nothing_adds_nothing(method: str, iteration: int) -> None:
    steps = attempts((0.1, 0.7, 0.9), episode=(-1.0, -1.0), step=(-1.0, -1.0))
    for sample in credited(steps, rule_of(method), iteration=iteration):
        assert sample.skill_advantage.tolist() == [0.0, 0.0]
    rule = rule_of(method)
    (loss, gradient), (plain, plain_gradient) = (
        loss_and_gradient(each, same=True) for each in (rule, Rule())
    )
    assert loss == plain
    # At equal log-probs the gate is half open, and its gradient raises every token (methods.md).
    assert torch.equal(gradient, plain_gradient) == (
        method not in {"sdar", "grpo_opsd_script", "opsd"}
    )


@pytest.mark.parametrize("method", METHODS)
def test_groups_that_tie_get_what_the_table_says(method: str) -> None:
    samples = credited(attempts((0.5, 0.5), episode=(-0.3, -2.7)), rule_of(method))
    moves = [sample.skill_advantage.abs().sum().item() > 0 for sample in samples]
    assert moves == [method in {"opid", "opid_gigpo"}] * 2
    loss = rule_of(method).loss(*torch.tensor([[[-1.0]], [[-1.0]], [[-3.0]], [[1.0]]]), 0)
    has_loss = loss is not None
    assert has_loss == (method in BANK - SHARING)
    (row,) = [line for line in table() if line[0] == f"`{method}`"]
    expected = "the loss" if has_loss else "nothing" if method in {"grpo", *SHARING} else "term"
    assert expected in row[5] or row[5] == "`w * delta`"


def table() -> list[list[str]]:
    lines = [
        line
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `") and "method=" not in line
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_has_a_row_for_each_method_and_its_text() -> None:
    texts = {row[0].strip("`"): row[1] for row in table() if len(row) == 7}
    assert sorted(texts) == METHODS
    assert {name for name, text in texts.items() if text == "bank"} == BANK


@pytest.mark.parametrize("conf", ["keydoor", "alfworld"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_sets_rule_text_and_loss_terms(
    method: str, conf: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", f"conf={conf}", f"method={method}", "--print_config"])
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    text = yaml.safe_dump(printed)
    assert f"class_path: {settings_of(method)['method']['rule']['class_path']}" in text
    assert ("analysts.bank.Bank" in text) == (method in BANK)
    assert f"state_weight: {float(method.endswith('gigpo'))}" in text
    assert f"policy_weight: {float(method != 'opsd')}" in text


@pytest.mark.parametrize("typed", [{}, {"analyst": "rules"}])
def test_a_typed_method_brings_its_text_to_a_recipe(typed: dict[str, str]) -> None:
    choices = {"recipe": "alfworld_qwen3_1.7b", "method": "rlsd", **typed}
    analyst = composed("alfworld", choices)[0]["analyst"]["class_path"]
    assert analyst.endswith(".Rules" if typed else ".Bank")


@pytest.mark.parametrize("method", METHODS)
def test_two_iterations_train(method: str, tmp_path: Path) -> None:
    typed = [f"method={method}", f"trainer.default_root_dir={tmp_path}"]
    assert main(["fit", "conf=keydoor", *typed, *SHORT]) == 0
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    if method in WITHOUT_RULE:
        return
    assert all(float(row["analysis/succeeded"]) == 16 for row in rows)
    assert all(float(row["routing/over_budget"]) == 0 for row in rows)
    if method in BANK - SHARING:
        assert all(float(row["loss/rule"]) != 0 for row in rows)
    else:
        assert any(float(row["advantage/skill_abs_mean"]) > 0 for row in rows)


@pytest.mark.parametrize(("method", "heeds"), [("grpo_opsd", True), ("grpo_opsd_script", False)])
def test_the_script_calls_distillation_what_does_not_heed_the_teacher(
    method: str, heeds: bool
) -> None:
    rows = random_rows([3, 2, 4, 1], 4)
    gradients = [
        loss_and_gradient(rule_of(method), skill_logprobs=rows["old_logprobs"] + shift)[1]
        for shift in (-3.0, 0.5)
    ]
    assert torch.equal(*gradients) == (not heeds)
    plain = loss_and_gradient(Rule())[1]
    assert not torch.equal(gradients[0], plain)


def test_the_rule_of_the_page_trains(tmp_path: Path) -> None:
    found = re.search(
        r"```python\n(# cautious.py\n.*?)```\n\n```\npython (.*?)\n```", PAGE.read_text(), re.DOTALL
    )
    assert found is not None
    assert len(found[1].splitlines()) <= 32
    (tmp_path / "cautious.py").write_text(found[1])
    command = [sys.executable, *found[2].split(), *SHORT, "trainer.default_root_dir=run"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert any(float(row["advantage/skill_abs_mean"]) > 0 for row in csv.DictReader(file))
