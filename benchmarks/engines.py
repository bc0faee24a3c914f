"""vLLM in this process against the policy's own forward: agreement and speed.

    OMP_NUM_THREADS=1 python -m benchmarks.engines parity [--policy small] [--dtypes float32 ...]
    OMP_NUM_THREADS=1 python -m benchmarks.engines speed  [--policy small] [--environments 16 64]

Plays generated ALFWorld games (or those of $ALFWORLD_DATA), eight attempts each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.method.scoring import logprobs_of
from opid_lightning.protocols import Sampler, SilentObserver
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.sampling.vllm.sampler import VLLM
from opid_lightning.types import Policy, Trajectory


@dataclass(frozen=True)
class Play:
    """What a rollout took."""

    trajectories: tuple[Trajectory, ...]
    seconds: float
    batch_mean: float

    @property
    def num_tokens(self) -> int:
        return sum(len(s.completion.token_ids) for t in self.trajectories for s in t.steps)


@dataclass(frozen=True)
class Bench:
    """The policy, and the games that it plays."""

    policy: Policy
    is_small: bool
    max_steps: int
    response_tokens: int

    @property
    def environment(self) -> ALFWorld:
        if self.is_small:
            return ALFWorld(prompt_style="brief", history_length=30, max_steps=self.max_steps)
        return ALFWorld(history_length=5, max_steps=self.max_steps)

    def play(self, sampler: Sampler, num_games: int, slots: int) -> Play:
        """Eight attempts a game."""
        sessions = SessionPool(self.environment)
        games = self.environment.tasks("train")[:num_games]
        rollout = Rollout(max_response_tokens=self.response_tokens, max_concurrent=slots)
        encode = encode_chat(self.policy.tokenizer)
        with sampler.serving(self.policy) as generation:
            start = time.perf_counter()
            played = rollout(sessions, games, generation, encode, 0, SilentObserver())
            seconds = time.perf_counter() - start
            batch_mean = generation.metrics["batch_mean"]
        sessions.close()
        return Play(played, seconds, batch_mean)


def gaps(policy: Policy, trajectories: Iterable[Trajectory]) -> torch.Tensor:
    """Of the sampler's log-probs of all sampled tokens from the trainer's."""
    found = []
    for trajectory in trajectories:
        steps = [step.completion for step in trajectory.steps]
        contexts = [(step.prompt.token_ids, step.completion.token_ids) for step in trajectory.steps]
        for completion, ours in zip(steps, logprobs_of(policy, contexts, 1.0), strict=True):
            found.append((ours - torch.tensor(completion.logprobs)).abs())
    return torch.cat(found)


def parity(bench: Bench, dtypes: Sequence[str]) -> None:
    print(
        f"{'dtype':10}{'start, s':>10}{'sync, s':>10}{'gap mean':>12}{'gap max':>12}{'tokens':>8}"
    )
    for dtype in dtypes:
        sampler = VLLM(dtype=dtype)  # type: ignore[arg-type]
        start = time.perf_counter()
        with sampler.serving(bench.policy):
            started = time.perf_counter() - start
        syncs = []
        for _ in range(5):
            with sampler.serving(bench.policy) as generation:
                syncs.append(generation.metrics["sync_s"])
        gap = gaps(bench.policy, bench.play(sampler, 2, 16).trajectories)
        print(
            f"{dtype:10}{started:>10.1f}{median(syncs):>10.3f}{gap.mean().item():>12.2g}"
            f"{gap.max().item():>12.2g}{len(gap):>8}",
            flush=True,
        )


def speed(bench: Bench, environments: Sequence[int], repeats: int) -> None:
    samplers: dict[str, Sampler] = {"hf": HuggingFace(), "vllm": VLLM()}
    for sampler in samplers.values():
        with sampler.serving(bench.policy):
            """Started."""
    print(f"{'environments':14}{'engine':8}{'tokens':>8}{'s':>8}{'tokens/s':>10}{'batch':>8}")
    for number in environments:
        for _ in range(repeats):
            for name, sampler in samplers.items():
                play = bench.play(sampler, max(1, number // 8), number)
                rate = play.num_tokens / play.seconds
                print(
                    f"{number:<14}{name:8}{play.num_tokens:>8}{play.seconds:>8.1f}{rate:>10.0f}"
                    f"{play.batch_mean:>8.1f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("parity", "speed"))
    parser.add_argument("--policy", default="small")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--environments", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--max-steps", type=int, default=30)
    parser.add_argument("--response-tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    policy = load_policy(PolicySource(given.policy))
    is_small = given.policy == "small"
    bench = Bench(policy, is_small, given.max_steps, given.response_tokens)
    if given.what == "parity":
        parity(bench, given.dtypes)
    else:
        speed(bench, given.environments, given.repeats)


if __name__ == "__main__":
    main()
