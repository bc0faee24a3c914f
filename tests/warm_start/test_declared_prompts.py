"""A policy that learns from demonstrations says which prompts they had."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.warm_start.training import declare_prompts, save

BRIEF = ALFWorld(prompt_style="brief", history_length=30)


def test_the_saved_policy_names_its_prompts(tmp_path: Path) -> None:
    policy = load_policy(PolicySource("keydoor"))
    declare_prompts(policy, [BRIEF, ALFWorld(prompt_style="brief", history_length=30, data="x")])
    save(policy, tmp_path)
    declared = {"environment": "ALFWorld", "prompt_style": "brief", "history_length": 30}
    assert AutoConfig.from_pretrained(tmp_path).taught_prompts == declared


def test_demonstrations_of_different_forms_are_refused() -> None:
    with pytest.raises(ValueError, match="show different prompts"):
        declare_prompts(load_policy(PolicySource("keydoor")), [BRIEF, ALFWorld()])
