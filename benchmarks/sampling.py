"""CPU seconds of a rollout with the Hugging Face sampler, by how much its cache holds, in one run.

OMP_NUM_THREADS=1 python -m benchmarks.sampling --policy small --cache-tokens 64000 0

Plays generated ALFWorld games (or those of $ALFWORLD_DATA) with brief prompts, eight attempts each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import SilentObserver
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Policy, Task, Trajectory


@dataclass
class Timed:
    """What a function that is called often takes in all."""

    call: Callable[..., Any]
    seconds: float = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        answer = self.call(*args, **kwargs)
        self.seconds += time.process_time() - start
        return answer


def measure(
    policy: Policy, environment: ALFWorld, tasks: Sequence[Task], cache_tokens: int
) -> tuple[Trajectory, ...]:
    sessions, model = SessionPool(environment), policy.model
    encode, forward = Timed(encode_chat(policy.tokenizer)), Timed(model.forward)
    model.forward = forward
    start = time.process_time()
    try:
        with HuggingFace(cache_tokens=cache_tokens).serving(policy) as generation:
            collect = Timed(generation.collect)
            setattr(generation, "collect", collect)  # noqa: B010
            played = Rollout(max_response_tokens=24)(
                sessions, tasks, generation, encode, seed=0, observer=SilentObserver()
            )
    finally:
        model.forward = forward.call
        sessions.close()
    seconds = time.process_time() - start
    steps = [step for trajectory in played for step in trajectory.steps]
    longest = max(len(step.prompt.token_ids) for step in steps)
    print(
        f"cache_tokens={cache_tokens}: {len(steps)} steps, prompts up to {longest} tokens, "
        f"{seconds:.1f} s: {forward.seconds:.1f} in the model, "
        f"{collect.seconds - forward.seconds:.1f} beside it in the sampler, "
        f"{encode.seconds:.1f} encoding prompts, "
        f"{seconds - collect.seconds - encode.seconds:.1f} else; "
        f"{len(steps) / seconds:.0f} steps/s",
        flush=True,
    )
    return played


def agreement(one: Sequence[Trajectory], other: Sequence[Trajectory]) -> tuple[int, int]:
    """How often the same was asked, which ends where episodes part, and answered the same."""
    pairs = [
        (mine.completion, yours.completion)
        for ours, theirs in zip(one, other, strict=True)
        for mine, yours in zip(ours.steps, theirs.steps, strict=False)
        if mine.prompt == yours.prompt
    ]
    return len(pairs), sum(mine.token_ids == yours.token_ids for mine, yours in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="small")
    parser.add_argument("--cache-tokens", type=int, nargs="+", default=[64_000, 0])
    parser.add_argument("--tasks", type=int, default=8)
    given = parser.parse_args()
    policy = load_policy(PolicySource(given.policy))
    environment = ALFWorld(prompt_style="brief", history_length=30)
    tasks = environment.tasks("train")[: given.tasks]
    plays = [measure(policy, environment, tasks, size) for size in given.cache_tokens]
    for size, other in zip(given.cache_tokens[1:], plays[1:], strict=True):
        num_asked, num_same = agreement(plays[0], other)
        print(f"cache_tokens={size}: {num_same} of {num_asked} responses to the same are the same")


if __name__ == "__main__":
    main()
