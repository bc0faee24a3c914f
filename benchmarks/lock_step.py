"""Continuous rollouts against environments in lock-step, on one vLLM engine in this process.

    OMP_NUM_THREADS=1 python -m benchmarks.lock_step [--policy small] [--slots 64 16] [--repeats 3]

The same 64 episodes three ways: each environment at its own pace, as `Rollout` plays; in lock-step,
where all wait for the last response of each step, finished ones leave, and new ones start when all
have ended; and as the reference code plays, where in addition finished ones go on until all have
ended (jinyangwu/OPID at 37a15a5, which takes its rollout loop from verl-agent).
"""

from __future__ import annotations

import argparse
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import mean, median

from benchmarks.engines import Bench
from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import Generation, Sampler, Session, SilentObserver
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.vllm.sampler import VLLM
from opid_lightning.types import Completion, Observation, Opening, SampleRequest, Task

GROUP = 8


@dataclass
class LockStep:
    """Answers nobody before everybody can be answered."""

    generation: Generation
    queued: deque[SampleRequest] = field(default_factory=deque)

    @property
    def weight_version(self) -> int:
        return self.generation.weight_version

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.generation.metrics

    def submit(self, request: SampleRequest) -> None:
        self.queued.append(request)

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        wave, self.queued = list(self.queued), deque()
        for request in wave:
            self.generation.submit(request)
        answered: list[Completion] = []
        while len(answered) < len(wave):
            answered += self.generation.collect()
        return answered


@dataclass(frozen=True)
class UnendingSession:
    """A game that never says that it is over."""

    session: Session

    def reset(self, task: Task) -> Opening:
        return self.session.reset(task)

    def step(self, action: str) -> Observation:
        return replace(self.session.step(action), done=False)

    def close(self) -> None:
        self.session.close()


class Unending(ALFWorld):
    def open(self) -> Session:
        return UnendingSession(super().open())


@dataclass(frozen=True)
class Way:
    """How a number of episodes is played."""

    name: str
    is_locked: bool = False
    goes_on: bool = False

    def play(self, bench: Bench, sampler: Sampler, num_games: int, slots: int) -> Figures:
        """Locked, in waves of `slots` episodes."""
        environment = bench.environment
        if self.goes_on:
            environment = Unending(**asdict(environment))
        games = environment.tasks("train")[:num_games]
        wave = max(1, slots // GROUP) if self.is_locked else num_games
        rollout = Rollout(max_response_tokens=bench.response_tokens, max_concurrent=slots)
        sessions, encode = SessionPool(environment), encode_chat(bench.policy.tokenizer)
        with sampler.serving(bench.policy) as generation:
            served = LockStep(generation) if self.is_locked else generation
            start, cpu_start = time.perf_counter(), time.process_time()
            played = [
                trajectory
                for first in range(0, num_games, wave)
                for trajectory in rollout(
                    sessions, games[first : first + wave], served, encode, 0, SilentObserver()
                )
            ]
            seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
            batch = generation.metrics["batch_mean"]
        sessions.close()
        lengths = tuple(len(trajectory.steps) for trajectory in played)
        return Figures(seconds, cpu_s, batch, lengths)


WAYS = (
    Way("continuous"),
    Way("lock-step", is_locked=True),
    Way("reference", is_locked=True, goes_on=True),
)


@dataclass(frozen=True)
class Figures:
    seconds: float
    cpu_s: float  # what the process got of the cores: comparable beside other programs
    batch_mean: float  # requests in the engine at a step of it
    lengths: tuple[int, ...]  # steps of each episode


def compare(bench: Bench, sampler: Sampler, slots: int, repeats: int) -> None:
    """Prints a line a way and repetition, then the median of the ratios."""
    ratios: dict[str, list[float]] = {way.name: [] for way in WAYS}
    cpu_ratios: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for _ in range(repeats):
        figures = {way.name: way.play(bench, sampler, 64 // GROUP, slots) for way in WAYS}
        free = figures["continuous"]
        for name, found in figures.items():
            ratios[name].append(found.seconds / free.seconds)
            cpu_ratios[name].append(found.cpu_s / free.cpu_s)
            print(
                f"{slots:<7}{name:12}{found.seconds:>8.1f}{found.cpu_s:>8.1f}"
                f"{found.batch_mean:>8.1f}{sum(found.lengths):>8}{ratios[name][-1]:>8.2f}"
                f"{cpu_ratios[name][-1]:>8.2f}",
                flush=True,
            )
    lengths = free.lengths
    print(
        f"{slots} slots, episodes of {min(lengths)} to {max(lengths)} steps, {mean(lengths):.1f} "
        f"on average. To continuous, medians of {repeats}:"
    )
    for name in ratios:
        wall, cpu = median(ratios[name]), median(cpu_ratios[name])
        print(f"  {name:12} {wall:.2f} times the time, {cpu:.2f} times the processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="small")
    parser.add_argument("--brief", action="store_true", help="a folder's policy read as `small` is")
    parser.add_argument("--slots", type=int, nargs="+", default=[64, 16])
    parser.add_argument("--max-steps", type=int, default=30)
    parser.add_argument("--response-tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    policy = load_policy(PolicySource(given.policy))
    is_small = given.brief or given.policy == "small"
    bench = Bench(policy, is_small, given.max_steps, given.response_tokens)
    sampler = VLLM()
    with sampler.serving(policy):
        """Started."""
    print(
        f"{'slots':7}{'way':12}{'s':>8}{'cpu, s':>8}{'batch':>8}{'steps':>8}{'ratio':>8}{'cpu':>8}"
    )
    for slots in given.slots:
        compare(bench, sampler, slots, given.repeats)


if __name__ == "__main__":
    main()
