"""How often a policy wins, played as rollouts play it."""

from __future__ import annotations

from collections.abc import Sequence

from opid_lightning.envs.alfworld.environment import ALFWorld
from opid_lightning.lm.chat import encode_chat
from opid_lightning.rollout import Rollout, SessionPool
from opid_lightning.sampling.hugging_face import HuggingFace
from opid_lightning.types import Hindsight, Policy, Task, Trajectory


class Silent:
    """A listener that has nothing to say."""

    def on_stage_start(self, stage: str, total: int) -> None: ...

    def on_stage_progress(self, stage: str, done: int) -> None: ...

    def on_stage_end(self, stage: str, num_tokens: int) -> None: ...

    def on_trajectory_end(self, trajectory: Trajectory) -> None: ...

    def on_rollout_end(self, trajectories: Sequence[Trajectory]) -> Hindsight:
        return Hindsight()


def play(
    policy: Policy, environment: ALFWorld, tasks: Sequence[Task], temperature: float, seed: int = 0
) -> tuple[Trajectory, ...]:
    rollout = Rollout(group_size=1, max_response_tokens=24, temperature=temperature)
    sessions = SessionPool(environment)
    with HuggingFace(max_batch=64).serving(policy) as generation:
        encode = encode_chat(policy.tokenizer)
        return rollout(sessions, tasks, generation, encode, seed, Silent())
