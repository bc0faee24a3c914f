"""How often a policy solves the held-out tasks, played as rollouts play them."""

from __future__ import annotations

from collections.abc import Sequence

from opid_lightning.lm.chat import encode_chat
from opid_lightning.protocols import Environment, Voice
from opid_lightning.rollout import Rollout
from opid_lightning.sampling.hugging_face import HuggingFace
from opid_lightning.sessions import SessionPool
from opid_lightning.success import Success, success_of
from opid_lightning.types import Hindsight, Policy, Trajectory, group_by_task

TEMPERATURES = (0.4, 1.0)  # of evaluations, and of rollouts


class Silent:
    """A listener that has nothing to say."""

    def on_stage_start(self, stage: str, total: int) -> None: ...

    def on_stage_progress(self, stage: str, done: int) -> None: ...

    def on_stage_end(self, stage: str, num_tokens: int) -> None: ...

    def on_rollout_start(self, voice: Voice) -> None: ...

    def on_trajectory_end(self, trajectory: Trajectory) -> None: ...

    def on_rollout_end(self, trajectories: Sequence[Trajectory]) -> Hindsight:
        return Hindsight()


def evaluate(
    policy: Policy, environment: Environment, max_response_tokens: int
) -> dict[float, Success]:
    """On all of valid_unseen, by temperature."""
    tasks = environment.tasks("valid_unseen")
    encode = encode_chat(policy.tokenizer)
    found = {}
    for temperature in TEMPERATURES:
        rollout = Rollout(
            group_size=1, max_response_tokens=max_response_tokens, temperature=temperature
        )
        sessions = SessionPool(environment)
        with HuggingFace(max_batch=64).serving(policy) as generation:
            played = rollout(sessions, tasks, generation, encode, 0, Silent())
        sessions.close()
        found[temperature] = success_of(group_by_task(played).values())
    return found
