"""From the recorded inputs of the comparison table's rules to this project's, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from opid_lightning.method.loss_terms import aggregate
from opid_lightning.method.rules.rlsd import RLSD
from opid_lightning.method.rules.rule import Rule
from opid_lightning.method.rules.sdar import SDAR
from opid_lightning.method.rules.skill_sd import SkillSD
from tests.golden.adapters_loss import Inputs, Outputs, gradient, leaf


def compute_rlsd_token_advantage(inputs: Inputs) -> Outputs:
    """The reference reads a row's advantage at its first response token."""
    mask, given = inputs["response_mask"], inputs["seq_advantages"]
    first = mask.bool().int().argmax(dim=-1, keepdim=True)
    outcome = given.gather(1, first) * mask.bool().any(dim=-1, keepdim=True)
    delta = (inputs["teacher_log_probs"] - inputs["student_log_probs"]) * mask
    rule = RLSD(inputs["rlsd_lambda"], inputs["rlsd_clip_eps"], decay_iterations=None)
    advantages = rule.advantages(outcome, delta, mask.to(delta.dtype), 0)
    return {"token_advantages": advantages * mask}


def compute_sdar_loss(inputs: Inputs) -> Outputs:
    return rule_outputs(SDAR(scale=1.0, sharpness=inputs["gate_beta"]), inputs)


def compute_sdl_loss(inputs: Inputs) -> Outputs:
    return rule_outputs(SkillSD(scale=1.0), inputs)


def rule_outputs(rule: Rule, inputs: Inputs) -> Outputs:
    logprobs, mask = leaf(inputs["student_log_probs"]), inputs["response_mask"]
    old = inputs.get("old_log_probs", inputs["student_log_probs"])
    losses = rule.loss(logprobs, old, inputs["teacher_log_probs"], mask.to(logprobs.dtype), 0)
    assert isinstance(losses, Tensor)
    losses = torch.where(mask.bool(), losses, 0.0)
    loss = aggregate(losses, mask, inputs.get("loss_agg_mode", "token-mean"))
    return {"loss": loss.detach(), "gradient": gradient(loss, logprobs)}
