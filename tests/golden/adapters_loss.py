"""From the recorded inputs of loss functions to this project's, and back, with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opid_lightning.method.loss import Loss
from opid_lightning.method.loss_terms import aggregate, importance_ratio, kl_estimates, token_mean
from opid_lightning.method.rules.distillation import Distillation
from opid_lightning.types import Batch
from tests.method.batches import batch_of, totals_of_rows

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]

KL_NAMES = {"kl": "k1", "mse": "k2", "low_var_kl": "k3"}


def agg_loss(inputs: Inputs) -> Outputs:
    loss = aggregate(inputs["loss_mat"], inputs["loss_mask"], inputs["loss_agg_mode"])
    return {"loss": loss}


def kl_penalty(inputs: Inputs) -> Outputs:
    logprobs = leaf(inputs["logprob"])
    name = KL_NAMES.get(inputs["kl_penalty"], inputs["kl_penalty"])
    estimates = kl_estimates(logprobs, inputs["ref_logprob"], name)
    return {"kld": estimates.detach(), "grad_logprob_of_sum": gradient(estimates.sum(), logprobs)}


def compute_policy_loss(inputs: Inputs) -> Outputs:
    how, dual_clip = inputs.get("loss_agg_mode", "token-mean"), inputs.get("clip_ratio_c", 3.0)
    low, high = clip_range(inputs)
    try:
        loss = Loss("ppo", low, high, dual_clip, how, kl_weight=0.0)
    except ValueError as error:
        raise AssertionError(str(error)) from error  # as the reference says it
    return policy_outputs(loss, inputs)


def compute_policy_loss_gspo(inputs: Inputs) -> Outputs:
    low, high = clip_range(inputs)
    return policy_outputs(Loss("gspo", low, high, kl_weight=0.0), inputs)


def clip_range(inputs: Inputs) -> tuple[float, float]:
    low, high = inputs.get("cliprange_low"), inputs.get("cliprange_high")
    both = inputs.get("cliprange")
    return both if low is None else low, both if high is None else high


def policy_outputs(loss: Loss, inputs: Inputs) -> Outputs:
    logprobs = leaf(inputs["log_prob"])
    terms = loss(logprobs, None, batch(inputs, inputs["advantages"]))
    return {
        "pg_loss": terms.loss.detach(),
        # Shares are float32 in the reference, whatever the log-probs are.
        "pg_clipfrac": terms.metrics["clip_fraction"].float(),
        "ppo_kl": terms.metrics["ppo_kl"],
        "pg_clipfrac_lower": terms.metrics["dual_clip_fraction"].float(),
        "grad_log_prob": gradient(terms.loss, logprobs),
    }


def batch(inputs: Inputs, advantages: Tensor, skilled: Tensor | None = None) -> Batch:
    """One that is a whole optimizer step; `skilled` says which tokens a skill scored."""
    mask, old = inputs["response_mask"], inputs["old_log_prob"]
    skilled = torch.zeros_like(mask) if skilled is None else skilled
    rows = {
        "response_mask": mask.to(old.dtype),
        "old_logprobs": old,
        "sampler_logprobs": old,
        "advantages": advantages,
        "skill_logprobs": inputs.get("teacher_log_prob", old),
        "routed_mask": skilled.to(old.dtype),
    }
    # The reference divides by the width of the padded batch.
    totals = replace(totals_of_rows(rows), max_response=mask.shape[-1])
    return batch_of({**rows, "reference_logprobs": old}, totals)


def compute_opd_loss(inputs: Inputs) -> Outputs:
    """The policy's own loss is nothing, as all advantages are 0."""
    mode, clip = inputs.get("weight_mode", "delta"), inputs.get("opd_clip")
    loss = Loss(aggregation=inputs.get("loss_agg_mode", "token-mean"), kl_weight=0.0)
    rule = Distillation(1.0, mode, clip)
    logprobs, response_mask = leaf(inputs["log_prob"]), inputs["response_mask"]
    mask = response_mask * spread(inputs["opd_step_mask"], response_mask)
    if not mask.any():
        return opd_outputs(torch.zeros(()), None, mask)
    terms = loss(logprobs, None, batch(inputs, torch.zeros_like(inputs["log_prob"]), mask), rule)
    outputs = opd_outputs(terms.metrics["rule"], gradient(terms.loss, logprobs), mask)
    old = inputs["old_log_prob"]
    weights = rule.weights(logprobs, old, inputs["teacher_log_prob"]).detach()
    outputs["opd_weight_abs_mean"] = token_mean(weights.abs(), mask)
    if mode == "importance":
        ratio = importance_ratio(logprobs, old).detach()
        outputs["opd_log_ratio_abs_mean"] = token_mean(ratio.log().abs(), mask)
        outputs["opd_importance_ratio_mean"] = token_mean(ratio, mask)
        outputs["opd_importance_ratio_max"] = ratio[mask.bool()].max()
    return outputs


def opd_outputs(loss: Tensor, grad: Tensor | None, mask: Tensor) -> Outputs:
    """With the figures that are 0 unless something says otherwise."""
    names = ("weight_abs_mean", "log_ratio_abs_mean")
    names += ("importance_ratio_mean", "importance_ratio_max")
    return {
        "opd_loss": loss,
        "opd_active_token_ratio": mask.float().mean(),
        **{f"opd_{name}": torch.zeros(()) for name in names},
        "grad_log_prob": grad,
    }


def spread(step_mask: Any, response_mask: Tensor) -> Tensor:
    mask = torch.as_tensor(np.asarray(step_mask).tolist()).to(response_mask.dtype)
    mask = mask.unsqueeze(-1).expand_as(response_mask) if mask.dim() == 1 else mask
    if mask.shape != response_mask.shape:
        raise ValueError(f"a mask of shape {tuple(mask.shape)} for {tuple(response_mask.shape)}")
    return mask


def leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def gradient(loss: Tensor, logprobs: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logprobs)[0]
