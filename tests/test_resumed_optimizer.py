"""The optimizer's state comes from the checkpoint, its settings from what is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor

from opid_lightning.training.checkpoints.optimizer_record import (
    KEY,
    apply_settings,
    check_continues,
    differing,
    record_in,
    record_of,
    settings_of,
)
from tests.resumed_runs import checkpoint_in, column, complaint, fit, resumed


def group_in(folder: Path) -> dict[str, Any]:
    group: dict[str, Any] = checkpoint_in(folder)["optimizer_states"][0]["param_groups"][0]
    return group


TYPED = (
    "optimizer.lr=0.5",
    "optimizer.weight_decay=0.25",
    "optimizer.betas=[0.5,0.75]",
    "optimizer.eps=0.125",
)
ONE_FILE = ("strategy=fsdp2", "trainer.devices=1")
SHARDS = (*ONE_FILE, "trainer.strategy.save_distributed_checkpoint=true")


@pytest.mark.parametrize("more", [(), ("policy.lora.rank=2",), ONE_FILE, SHARDS])
def test_what_is_typed_on_resume_is_trained_with_and_said(
    tmp_path: Path, more: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert fit(tmp_path, 1, *more, "model.decay=none") == 0
    with caplog.at_level("INFO"):
        assert resumed(tmp_path, 2, *more, "model.decay=none", *TYPED) == 0
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    (line,) = [r.getMessage() for r in caplog.records if "The optimizer resumes" in r.getMessage()]
    assert "optimizer.lr is 0.5 (was 0.003)" in line
    assert "optimizer.betas is [0.5, 0.75] (was [0.9, 0.999])" in line
    assert column(tmp_path, "policy/learning_rate") == pytest.approx([0.003, 0.5])
    last = tmp_path / "checkpoints" / "last.ckpt"
    if last.is_file():
        group = group_in(tmp_path / "checkpoints")
        found = [group[name] for name in ("lr", "weight_decay", "eps")]
        assert [*found, *group["betas"]] == [0.5, 0.25, 0.125, 0.5, 0.75]
        steps = {int(kept["step"]) for kept in state_in(tmp_path).values()}
        assert steps == {checkpoint_in(last.parent)["global_step"]}, "moments were begun anew"


def state_in(run: Path) -> dict[int, Any]:
    state: dict[int, Any] = checkpoint_in(run / "checkpoints")["optimizer_states"][0]["state"]
    return state


def test_another_class_is_refused_before_anything_is_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, 1) == 0
    sgd = ("optimizer.class_path=torch.optim.SGD", "optimizer.lr=0.1")
    assert resumed(tmp_path, 2, *sgd) == 2
    said = complaint(capsys)
    assert "optimizer is torch.optim.adamw.AdamW, but this run's is torch.optim.sgd.SGD" in said
    assert "Traceback" not in said
    assert not (tmp_path / "trajectories" / "train-000001.parquet").exists()


def test_warm_up_goes_on_and_lightnings_monitor_shows_the_rate_of_the_same_iteration(
    tmp_path: Path,
) -> None:
    warm = ("model.decay=none", "model.warmup_iterations=4", "optimizer.lr=0.004")
    monitor = "callbacks.rate.class_path=lightning.pytorch.callbacks.LearningRateMonitor"
    assert fit(tmp_path, 2, *warm, monitor) == 0
    assert resumed(tmp_path, 3, *warm, monitor, "optimizer.lr=0.008") == 0
    own = column(tmp_path, "policy/learning_rate")
    assert [rate for rate in own if rate] == pytest.approx([0.001, 0.002, 0.006])
    shown = dict.fromkeys(rate for rate in column(tmp_path, "lr-AdamW") if rate)
    assert list(shown) == pytest.approx([0.001, 0.002, 0.006])
    assert LearningRateMonitor.__name__ in monitor


def test_a_checkpoint_of_an_older_version_is_resumed(tmp_path: Path) -> None:
    """Its groups held the full rate as `initial_lr`, and it kept no records."""
    assert fit(tmp_path, 1, "model.decay=none") == 0
    checkpoint = checkpoint_in(tmp_path / "checkpoints")
    for name in ("optimizer", "evaluation"):
        del checkpoint[name]
    checkpoint["optimizer_states"][0]["param_groups"][0]["initial_lr"] = 0.003
    path = (tmp_path / "checkpoints" / "last.ckpt").resolve()
    torch.save(checkpoint, path)
    assert resumed(tmp_path, 2, "model.decay=none", "optimizer.lr=0.5") == 0
    assert column(tmp_path, "policy/learning_rate") == pytest.approx([0.003, 0.5])


def test_weights_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, 1) == 0
    checkpoint = checkpoint_in(tmp_path / "checkpoints")
    for name in ("optimizer_states", "lr_schedulers", "callbacks"):
        del checkpoint[name]
    torch.save(checkpoint, (tmp_path / "checkpoints" / "last.ckpt").resolve())
    assert resumed(tmp_path, 2) == 2
    assert "The checkpoint holds weights alone" in complaint(capsys)


# ------------------------------------------------------------------ by hand


def make(kind: Any, **settings: Any) -> Any:
    return lambda parameters: kind(parameters, **settings)


def trained(kind: Any, **settings: Any) -> torch.optim.Optimizer:
    parameters = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))]
    optimizer: torch.optim.Optimizer = kind(parameters, **settings)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def of(kind: Any, **settings: Any) -> Any:
    optimizer = trained(kind, **settings)
    return record_of(optimizer, settings_of(optimizer))


def older(optimizer: torch.optim.Optimizer, rate: float) -> dict[str, Any]:
    """A checkpoint of a version that kept no record of its optimizer."""
    for group in optimizer.param_groups:
        group["initial_lr"] = rate
    return {"optimizer_states": [optimizer.state_dict()]}


def test_a_checkpoint_without_a_record_is_judged_by_its_state() -> None:
    checkpoint = older(trained(torch.optim.Adam, lr=0.5), rate=1.0)
    found = record_in(checkpoint)
    assert found is not None
    adamw = of(torch.optim.AdamW, lr=2.0)
    check_continues(found, adamw, make(torch.optim.AdamW))
    assert differing(found, adamw)["optimizer.lr"] == "2.0 (was 1.0)"
    with pytest.raises(ValueError, match=r"keeps square_avg of each parameter, which"):
        check_continues(found, of(torch.optim.RMSprop), make(torch.optim.RMSprop))
    assert record_in({}) is None
    assert record_in({KEY: found}) is found


@pytest.mark.parametrize(
    ("kind", "was", "now", "missing"),
    [
        (torch.optim.AdamW, {}, {"amsgrad": True}, "max_exp_avg_sq"),
        (torch.optim.RMSprop, {}, {"momentum": 0.9}, "momentum_buffer"),
        (torch.optim.RMSprop, {}, {"centered": True}, "grad_avg"),
    ],
)
def test_a_setting_that_needs_state_which_is_not_there_is_refused(
    kind: Any, was: dict[str, Any], now: dict[str, Any], missing: str
) -> None:
    expected = rf"keeps {missing} of each.*set optimizer\.{next(iter(now))} as in its run"
    with pytest.raises(ValueError, match=expected):
        check_continues(of(kind, **was), of(kind, **now), make(kind, **now))
    check_continues(of(kind, **now), of(kind, **was), make(kind, **was))


def test_only_the_setting_that_needs_the_missing_state_is_named() -> None:
    now = {"betas": (0.5, 0.75), "eps": 1e-3, "amsgrad": True}
    with pytest.raises(ValueError, match=r"\): set optimizer\.amsgrad as in its run") as refused:
        check_continues(
            of(torch.optim.AdamW), of(torch.optim.AdamW, **now), make(torch.optim.AdamW, **now)
        )
    assert "optimizer.betas" not in str(refused.value)


def test_another_number_of_parameters_or_groups_is_refused() -> None:
    one, two = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    whole = torch.optim.SGD([one, two], lr=1.0)
    parts = torch.optim.SGD([{"params": [one]}, {"params": [two]}], lr=1.0)
    found, own = (record_of(each, settings_of(each)) for each in (whole, parts))
    with pytest.raises(ValueError, match=r"2 parameters in 1 group, but this run's has 2 .*in 2"):
        check_continues(found, own, make(torch.optim.SGD))


class Counting(torch.optim.SGD):
    """Keeps state in its groups, as some optimizers do, named as no argument is."""

    def __init__(self, parameters: Any, lr: float = 1.0, boldness: float = 2.0) -> None:
        super().__init__(parameters, lr=lr)
        for group in self.param_groups:
            group.update(boldness=boldness, steps_taken=0)


def test_state_that_an_optimizer_keeps_in_its_groups_is_left_alone() -> None:
    optimizer = Counting([torch.nn.Parameter(torch.ones(1))])
    settings = settings_of(optimizer)
    optimizer.param_groups[0].update(boldness=9.0, steps_taken=7, lr=5.0)
    apply_settings(optimizer, settings, share=0.5)
    (group,) = optimizer.param_groups
    assert (group["boldness"], group["steps_taken"], group["lr"]) == (2.0, 7, 0.5)
