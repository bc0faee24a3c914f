"""Routing: which hindsight skills each step is re-scored with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from opid_lightning.types import Route, Skills

RoutingMode = Literal["step_priority", "additive", "episode_only", "step_only", "none"]


@dataclass(frozen=True)
class Routing:
    """Critical-first routing (paper, section on skill routing), and what it is compared with.

    A step is critical where the analyst wrote a step skill for it.

        mode            critical step    other step
        step_priority   step             episode      the paper
        additive        episode + step   episode      its ablation; both terms are added
        episode_only    episode          episode
        step_only       step             -
        none            -                -

    Where a step skill is scored in place of the episode skill, that is the route's fallback.
    """

    mode: RoutingMode = "step_priority"  # which skill a step is scored with
    episode_enabled: bool = True  # score with episode skills
    step_enabled: bool = True  # score with step skills

    def __post_init__(self) -> None:
        check_mode(self.mode)

    def __call__(self, step_index: int, skills: Skills | None) -> Route:
        """`skills` is None where the trajectory has none: not analysed, or in vain."""
        if skills is None:
            return Route()
        step_skill = skills.step_skills.get(step_index, "").strip()
        use_episode, use_step = select_sources(
            step_skill, self.episode_enabled, self.step_enabled, self.mode
        )
        episode_skill = skills.episode_skill.strip()
        is_replaced = self.mode == "step_priority" and use_step and self.episode_enabled
        return Route(
            episode_skill=episode_skill if use_episode else "",
            step_skill=step_skill if use_step else "",
            fallback_skill=episode_skill if is_replaced else "",
        )


def select_sources(
    step_skill: object,
    episode_enabled: bool,
    step_enabled: bool,
    mode: RoutingMode = "step_priority",
) -> tuple[bool, bool]:
    """Whether a step is scored with the episode skill, and whether with its step skill.

    Agrees with the reference's `opid/prompting.py`, which judges any step skill by its text:
    None reads "None" and is not blank.
    """
    check_mode(mode)
    is_critical = step_enabled and bool(str(step_skill).strip())
    use_step = is_critical and mode in ("step_priority", "additive", "step_only")
    use_episode = episode_enabled and mode in ("step_priority", "additive", "episode_only")
    if mode == "step_priority" and use_step:
        use_episode = False
    return use_episode, use_step


def check_mode(mode: str) -> None:
    """Raises ValueError unless the mode is one of `RoutingMode`."""
    modes = get_args(RoutingMode)
    if mode not in modes:
        raise ValueError(f"Routing mode is {mode!r}; expected one of {', '.join(modes)}.")
