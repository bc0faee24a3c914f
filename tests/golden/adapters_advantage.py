"""From the recorded inputs of advantage functions to this project's, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opid_lightning.method.advantage import Advantage, discounted_returns, episode_scores, penalties
from opid_lightning.method.critical_steps import CriticalSteps
from opid_lightning.method.groups import number_groups, state_groups
from opid_lightning.method.method import skill_advantages

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]


def reference(**settings: Any) -> Advantage:
    """The settings under which ours is the reference's advantage."""
    fixed = {"over": "steps", "deviation": "unbiased", "single_member": "raw"}
    return Advantage(**{**fixed, **settings})


def episode_norm_reward(inputs: Inputs) -> Outputs:
    advantage = reference(
        normalise="mean" if inputs["remove_std"] else "mean_std",
        over="steps" if inputs["compute_mean_std_cross_steps"] else "trajectories",
        epsilon=inputs["epsilon"],
    )
    return {"advantages": outcome(advantage, inputs)}


def outcome(advantage: Advantage, inputs: Inputs) -> Tensor:
    scores = inputs["token_level_rewards"].sum(dim=-1)
    advantages = advantage.outcome(
        scores, torch.zeros_like(scores), list(inputs["index"]), list(inputs["traj_index"])
    )
    return on_tokens(advantages, inputs)


def on_tokens(advantages: Tensor, inputs: Inputs) -> Tensor:
    return advantages.unsqueeze(-1) * inputs["response_mask"]


def step_norm_reward(inputs: Inputs) -> Outputs:
    advantage = reference(
        normalise="mean" if inputs["remove_std"] else "mean_std", epsilon=inputs["epsilon"]
    )
    groups = number_groups(inputs["index"])
    return {"advantages": on_tokens(advantage.state(inputs["step_rewards"], groups), inputs)}


def groups_of(inputs: Inputs) -> Tensor:
    similarity = inputs.get("similarity_thresh", 0.95)
    return state_groups(
        list(inputs["index"]),
        list(inputs["anchor_obs"]),
        similarity if inputs.get("enable_similarity", False) else None,
    )


def build_step_group(inputs: Inputs) -> Outputs:
    groups = groups_of(inputs)
    rows = [(groups == group).nonzero().flatten().tolist() for group in groups.unique()]
    return {"partition": sorted(rows)}


def compute_step_discounted_returns(inputs: Inputs) -> Outputs:
    assert all(inputs["active_masks"]), "our trajectories hold only steps that were played"
    rewards = torch.tensor([float(reward) for reward in inputs["rewards"]])
    return {"returns": discounted_returns(rewards, list(inputs["traj_uid"]), inputs["gamma"])}


def compute_teacher_token_advantage(inputs: Inputs) -> Outputs:
    settings = {
        "normalise": inputs["normalize"],
        "clip": inputs["clip_range"],
        "epsilon": inputs["epsilon"],
    }
    teacher, mask = inputs["teacher_log_prob"], inputs["critical_step_mask"]
    return {"teacher_advantages": skill_term(teacher, mask, inputs, settings)}


def skill_term(teacher: Any, step_mask: Any, inputs: Inputs, settings: Inputs) -> Tensor:
    response_mask, old = inputs["response_mask"], inputs["old_log_prob"]
    if teacher is None or old is None:
        return torch.zeros(response_mask.shape)
    mask = response_mask * spread(step_mask, response_mask)
    return skill_advantages(teacher, old, mask, **settings)


def spread(step_mask: Any, response_mask: Tensor) -> Tensor:
    """A mask of steps, in any of the recorded shapes, over their tokens. None is every step."""
    if step_mask is None:
        return torch.ones_like(response_mask)
    mask = torch.as_tensor(np.asarray(step_mask).tolist()).to(response_mask.dtype)
    mask = mask.unsqueeze(-1) if mask.dim() == 1 else mask
    if mask.dim() != 2 or mask.shape not in (response_mask.shape, (len(response_mask), 1)):
        raise ValueError(f"a mask of shape {tuple(mask.shape)} for {tuple(response_mask.shape)}")
    return mask.expand_as(response_mask)


def select_critical_steps_by_stats(inputs: Inputs) -> Outputs:
    select = CriticalSteps(
        min_group_size=inputs.get("min_group_size", 2),
        variance_quantile=inputs.get("var_quantile", 0.75),
        per_trajectory=inputs.get("topk_per_traj", 1),
        below_mean_only=inputs.get("below_group_mean_only", True),
    )
    found = select(inputs["step_rewards"], groups_of(inputs), list(inputs["traj_index"]))
    metrics = {
        "num_groups": found.num_groups,
        "eligible_groups": found.num_eligible_groups,
        "selected_steps": int(found.mask.sum()),
        "variance_cutoff": found.variance_cutoff,
    }
    return {
        "mask": found.mask,
        "metrics": {name: float(x) for name, x in metrics.items() if x is not None},
    }


def apply_invalid_action_penalty(inputs: Inputs) -> Outputs:
    valid = torch.as_tensor(np.asarray(inputs["is_action_valid"]).astype(np.float32))
    lost = penalties(valid, inputs["coef"])
    scores = inputs["token_level_scores"] - on_last_token(lost, inputs)
    rewards = inputs["step_rewards"]
    return {
        "token_level_scores": scores,
        "step_rewards": None if rewards is None else rewards - lost,
        "metrics": {"episode/valid_action_ratio": valid.mean().item()},
    }


def episode_reward_manager(inputs: Inputs) -> Outputs:
    if "rm_scores" in inputs:
        return {"reward_tensor": inputs["rm_scores"]}
    scores = episode_scores(
        torch.as_tensor(inputs["episode_rewards"]),
        torch.as_tensor(inputs["episode_lengths"]),
        inputs["normalize_by_length"],
    )
    return {"reward_tensor": on_last_token(scores, inputs)}


def on_last_token(values: Tensor, inputs: Inputs) -> Tensor:
    """Ours are numbers of rows; the reference writes them at a row's last response token."""
    mask = inputs["attention_mask"][:, inputs["prompts"].shape[-1] :]
    placed = torch.zeros(mask.shape)
    placed[torch.arange(len(mask)), mask.sum(dim=-1) - 1] = values.float()
    return placed
