"""A policy that is not the one that scored its rows does not train on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from tests.keydoor_run import analysing, fit


class Noise(lightning.Callback):
    """Has the policy answer otherwise each time, as a router that jitters does."""

    def __init__(self, size: float) -> None:
        self.size = size

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        pl_module.policy.model.model.norm.register_forward_hook(
            lambda module, inputs, output: output + self.size * torch.randn_like(output)
        )


def test_a_policy_with_noise_stops_before_its_first_update(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"#\d@\d is off by .*max_first_ratio_error=0.001"):
        fit(tmp_path, [*analysing(), Noise(0.1)], iterations=1)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_rounding_of_kernels_that_do_not_repeat_themselves_is_tolerated(tmp_path: Path) -> None:
    run = fit(tmp_path, [*analysing(), Noise(1e-5)], iterations=1)
    assert 0 < run.metrics["policy/first_ratio_error"] < 1e-3
