"""A model that trains gives one response one log-prob."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from opid_lightning.lm.forward.modes import evaluating, make_trainable
from opid_lightning.lm.policy import PolicySource, load_policy
from tests.lm.brought import drawn, experts

IDS = torch.arange(40)[None]


@pytest.mark.parametrize("kind", ["mixtral", "phimoe"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_router_does_not_jitter_while_the_model_trains(
    tmp_path: Path, kind: str, checkpointing: bool
) -> None:
    model: Any = load_policy(PolicySource(str(drawn(tmp_path / "model", experts(kind))))).model
    expected = model(input_ids=IDS).logits
    assert not torch.equal(model.train()(input_ids=IDS).logits, expected)  # it would
    make_trainable(model, checkpointing)
    assert torch.equal(model(input_ids=IDS).logits, expected)


def test_activations_are_computed_again_where_that_is_asked_for() -> None:
    model: Any = load_policy(PolicySource("small")).model
    make_trainable(model, activation_checkpointing=True)
    calls: list[int] = []
    model.model.layers[0].input_layernorm.register_forward_hook(lambda *_: calls.append(1))
    model(input_ids=IDS, use_cache=False).logits.sum().backward()
    assert len(calls) == 2
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    model(input_ids=IDS, use_cache=False).logits.sum().backward()
    assert len(calls) == 4  # still, after an evaluation in between
