"""Runs recorded cases of the reference through this project's functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opid_lightning.envs.alfworld.responses import read_action
from tests.golden import (
    adapters_advantage,
    adapters_combination,
    adapters_loss,
    adapters_rules,
    adapters_search,
    adapters_webshop,
)
from tests.golden.comparison import differences
from tests.golden.reader import Case, read_cases
from tests.hindsight.reference_cases import parsing_agrees, sources_agree

Adapter = Callable[[adapters_advantage.Inputs], adapters_advantage.Outputs]


def alfworld_projection(inputs: adapters_advantage.Inputs) -> adapters_advantage.Outputs:
    action = read_action(inputs["output"])
    return {"action": action.text, "valid": int(action.is_valid)}


ADAPTERS: dict[str, Adapter] = {
    adapter.__name__: adapter
    for adapter in (
        adapters_advantage.apply_invalid_action_penalty,
        adapters_advantage.build_step_group,
        adapters_combination.compute_gigpo_outcome_advantage,
        adapters_combination.compute_opid_advantage_components,
        adapters_combination.compute_opid_outcome_advantage,
        adapters_advantage.compute_step_discounted_returns,
        adapters_advantage.compute_teacher_token_advantage,
        adapters_advantage.episode_norm_reward,
        adapters_advantage.episode_reward_manager,
        adapters_advantage.select_critical_steps_by_stats,
        adapters_advantage.step_norm_reward,
        adapters_loss.agg_loss,
        adapters_loss.compute_opd_loss,
        adapters_loss.compute_policy_loss,
        adapters_loss.compute_policy_loss_gspo,
        adapters_loss.kl_penalty,
        adapters_rules.compute_rlsd_token_advantage,
        adapters_rules.compute_sdar_loss,
        adapters_rules.compute_sdl_loss,
        adapters_search.search_compute_score,
        adapters_search.search_env_episode,
        adapters_search.search_normalize_answer,
        adapters_search.search_projection,
        adapters_webshop.webshop_get_reward,
        adapters_webshop.webshop_projection,
        alfworld_projection,
    )
}
# Where reading more than the reference, or rejecting nonsense that it takes, is agreement.
JUDGES: dict[str, Callable[[Case], bool]] = {
    "parse_analysis_response": parsing_agrees,
    "select_skill_teacher_sources": sources_agree,
}


@dataclass(frozen=True)
class Verdict:
    """How one case went; `reason` says what differs, and is empty where nothing does."""

    case: Case
    reason: str

    @property
    def is_failure(self) -> bool:
        return bool(self.reason) and not self.case.may_differ


def run_file(path: Path) -> list[Verdict]:
    return [Verdict(case, judge(case)) for case in read_cases(path)]


def judge(case: Case) -> str:
    """What differs, or nothing."""
    if case.function in JUDGES:
        return "" if JUDGES[case.function](case) else "read differently"
    if case.function not in ADAPTERS:
        return "no adapter for this function"
    try:
        got = ADAPTERS[case.function](case.inputs)
    # Which exception is raised is part of what is compared.
    except Exception as error:
        raised = type(error).__name__
        return "" if raised == case.raises else f"raised {raised}: {error}"
    if case.raises:
        return f"did not raise {case.raises}"
    return ", ".join(differences(case, got))
