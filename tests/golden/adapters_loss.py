"""From the recorded inputs of loss functions to this project's, and back, with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opid_lightning.learning.aggregation import aggregate, token_mean
from opid_lightning.learning.distillation import distillation
from opid_lightning.learning.kl import kl_estimates
from opid_lightning.learning.surrogate import Surrogate, gspo_surrogate, ppo_surrogate

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
    logprobs = leaf(inputs["log_prob"])
    surrogate = ppo_surrogate(
        logprobs,
        inputs["old_log_prob"],
        inputs["advantages"],
        *clip_range(inputs),
        inputs.get("clip_ratio_c", 3.0),
    )
    how = inputs.get("loss_agg_mode", "token-mean")
    return policy_outputs(surrogate, logprobs, how, inputs)


def compute_policy_loss_gspo(inputs: Inputs) -> Outputs:
    logprobs = leaf(inputs["log_prob"])
    surrogate = gspo_surrogate(
        logprobs,
        inputs["old_log_prob"],
        inputs["advantages"],
        inputs["response_mask"],
        *clip_range(inputs),
    )
    return policy_outputs(surrogate, logprobs, "seq-mean-token-mean", inputs)


def clip_range(inputs: Inputs) -> tuple[float, float]:
    low, high = inputs.get("cliprange_low"), inputs.get("cliprange_high")
    both = inputs.get("cliprange")
    return both if low is None else low, both if high is None else high


def policy_outputs(surrogate: Surrogate, logprobs: Tensor, how: str, inputs: Inputs) -> Outputs:
    mask = inputs["response_mask"]
    loss = aggregate(surrogate.losses, mask, how)
    return {
        "pg_loss": loss.detach(),
        "pg_clipfrac": token_mean(surrogate.is_clipped, mask),
        "ppo_kl": token_mean(inputs["old_log_prob"] - logprobs.detach(), mask),
        "pg_clipfrac_lower": token_mean(surrogate.is_dual_clipped, mask),
        "grad_log_prob": gradient(loss, logprobs),
    }


def compute_opd_loss(inputs: Inputs) -> Outputs:
    logprobs = leaf(inputs["log_prob"])
    mask = inputs["response_mask"] * spread(inputs["opd_step_mask"], inputs["response_mask"])
    selected = mask.bool()
    if not selected.any():
        return opd_outputs(torch.zeros(()), None, mask)
    result = distillation(
        logprobs,
        inputs["old_log_prob"],
        inputs["teacher_log_prob"],
        inputs.get("weight_mode", "delta"),
        inputs.get("opd_clip"),
    )
    loss = aggregate(result.losses, mask, inputs.get("loss_agg_mode", "token-mean"))
    outputs = opd_outputs(loss.detach(), gradient(loss, logprobs), mask)
    outputs["opd_weight_abs_mean"] = token_mean(result.weights.abs(), mask)
    if result.ratio is not None:
        outputs["opd_log_ratio_abs_mean"] = token_mean(result.ratio.log().abs(), mask)
        outputs["opd_importance_ratio_mean"] = token_mean(result.ratio, mask)
        outputs["opd_importance_ratio_max"] = result.ratio[selected].max()
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
