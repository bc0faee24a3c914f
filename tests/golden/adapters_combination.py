"""From the recorded inputs of the combined advantages to this project's, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from opid_lightning.learning.state_groups import describe_group_sizes
from opid_lightning.learning.term_sizes import term_sizes
from tests.golden.adapters_advantage import (
    Inputs,
    Outputs,
    groups_of,
    on_tokens,
    outcome,
    reference,
    skill_term,
)

MODES = {"mean_norm": "mean", "mean_std_norm": "mean_std"}


def compute_gigpo_outcome_advantage(inputs: Inputs) -> Outputs:
    advantage = reference(normalise=mode(inputs), epsilon=inputs.get("epsilon", 1e-6))
    groups = groups_of(inputs)
    state = on_tokens(advantage.state(inputs["step_rewards"], groups), inputs)
    advantages = outcome(advantage, inputs) + inputs.get("step_advantage_w", 1.0) * state
    outputs = {"advantages": advantages, "returns": advantages}
    return outputs | (
        {"metrics": group_metrics("gigpo", groups)} if inputs.get("return_metrics") else {}
    )


def mode(inputs: Inputs) -> str:
    name = inputs.get("mode", "mean_norm")
    return MODES.get(name, name)


def group_metrics(prefix: str, groups: Tensor) -> Outputs:
    sizes = describe_group_sizes(groups)
    return {f"{prefix}/state_group/{name}": value for name, value in sizes.items()}


def compute_opid_advantage_components(inputs: Inputs) -> Outputs:
    advantage = reference(normalise=mode(inputs), epsilon=inputs.get("epsilon", 1e-6))
    settings = {
        "normalise": inputs.get("normalize_teacher_adv", False),
        "clip": inputs.get("clip_teacher_adv"),
        "epsilon": advantage.epsilon,
    }
    weights = weights_of(inputs)
    metrics = {f"opid/adv/{name}_weight": weight for name, weight in weights.items()}
    episode = outcome(advantage, inputs)
    state = torch.zeros_like(episode)
    if weights["step_advantage"] != 0:
        if inputs["step_rewards"] is None:
            raise ValueError("the state term needs the returns of steps")
        groups = groups_of(inputs)
        state = on_tokens(advantage.state(inputs["step_rewards"], groups), inputs)
        metrics |= group_metrics("opid", groups)
    episode_teacher = inputs.get("episode_teacher_log_prob")
    if episode_teacher is None:
        episode_teacher = inputs.get("teacher_log_prob")
    by_episode_skill = skill_term(
        episode_teacher, inputs.get("critical_step_mask"), inputs, settings
    )
    by_step_skill = skill_term(
        inputs.get("step_teacher_log_prob"), inputs.get("step_skill_mask"), inputs, settings
    )
    teacher = (
        weights["episode_skill_teacher"] * by_episode_skill
        + weights["step_skill_teacher"] * by_step_skill
    )
    return {
        "episode_advantages": episode,
        "step_advantages": state,
        "teacher_advantages": teacher,
        "scores": episode + weights["step_advantage"] * state + teacher,
        "metrics": metrics,
    }


def weights_of(inputs: Inputs) -> dict[str, float]:
    """The reference reads a missing weight as its default, and null as 0."""
    return {
        "step_advantage": float(inputs.get("step_advantage_w", 0.0) or 0.0),
        "episode_skill_teacher": float(inputs.get("episode_skill_teacher_advantage_w", 1.0) or 0.0),
        "step_skill_teacher": float(inputs.get("step_skill_teacher_advantage_w", 0.0) or 0.0),
    }


def compute_opid_outcome_advantage(inputs: Inputs) -> Outputs:
    parts = compute_opid_advantage_components(inputs)
    outputs = {"advantages": parts["scores"], "returns": parts["scores"]}
    if not inputs.get("return_metrics"):
        return outputs
    mask, weight = inputs["response_mask"], weights_of(inputs)["step_advantage"]
    terms = {name: parts[f"{name}_advantages"] for name in ("episode", "step", "teacher")}
    weighted = {**terms, "step": weight * terms["step"]}
    active = (terms["teacher"][mask.bool()] != 0).sum().item()
    metrics = {
        **{f"opid/adv_raw/{k}": value for k, value in term_sizes(terms, mask).items()},
        **{f"opid/adv/{k}": value for k, value in term_sizes(weighted, mask).items()},
        "opid/adv/teacher_active_token_ratio": active / (mask.bool().sum().item() + 1e-6),
        "opid/adv/step_weight": weight,
        **parts["metrics"],
    }
    return outputs | {"metrics": metrics}
