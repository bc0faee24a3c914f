"""Numbers that are not finite stop the run, by name, and leave the checkpoint alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from opid_lightning.rollout.attempts import check_completion
from opid_lightning.types import Completion
from tests.keydoor_run import fit


class Poison(lightning.Callback):
    """Makes weights or gradients NaN in the second iteration, as a diverged update would."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        if self.hook == "epoch start":
            self._poison(trainer, module)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        if self.hook == "batch end":
            self._poison(trainer, module)

    def on_after_backward(self, trainer: lightning.Trainer, module: Any) -> None:
        if self.hook == "backward" and trainer.current_epoch == 1:
            module.model.lm_head.weight.grad.fill_(torch.inf)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if self.hook == "epoch end":
            self._poison(trainer, module)

    def _poison(self, trainer: lightning.Trainer, module: Any) -> None:
        if trainer.current_epoch == 1:
            module.model.lm_head.weight.data.fill_(torch.nan)


@pytest.mark.parametrize(
    ("hook", "named"),
    [
        ("epoch start", r"log-probs of \S+#\d@\d+ are"),
        ("batch end", r"log-probs of \S+#\d@\d+ are"),
        ("backward", r"gradient norm \((nan|inf)\) is"),
        ("epoch end", "policy's weights are"),
    ],
)
def test_what_is_not_finite_is_named_and_keeps_the_checkpoint(
    tmp_path: Path, hook: str, named: str
) -> None:
    with pytest.raises(ValueError, match=rf"The {named} not finite"):
        fit(tmp_path, [Poison(hook)], iterations=3)
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 1
    assert all(bool(value.isfinite().all()) for value in kept["state_dict"].values())
    fit(tmp_path, [], iterations=2, resume_from=tmp_path / "checkpoints" / "last.ckpt")


class Explode(lightning.Callback):
    """Makes weights so large that they are finite and their logits are not."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        module.model.lm_head.weight.data.fill_(3e38)


def test_a_policy_that_diverged_is_not_the_samplers_fault(tmp_path: Path) -> None:
    said = r"log-probs of the response to '\S+#\d@0' are .*policy's own logits are not finite"
    with pytest.raises(ValueError, match=said) as stopped:
        fit(tmp_path, [Explode()], iterations=2)
    assert "resume from an earlier one" in str(stopped.value)
    assert "optimizer.lr" in str(stopped.value) and "sampler" not in str(stopped.value)


def test_a_sampler_that_leaves_log_probs_out_is_named() -> None:
    short = Completion("a#0@0", (4, 3), (0.0,), "left", False)
    with pytest.raises(ValueError, match="the sampler answered 'a#0@0' with 2 tokens and 1 log-pr"):
        check_completion(short, 0)
