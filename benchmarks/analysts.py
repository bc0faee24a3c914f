"""A language-model analyst on a real local server: valid replies, and who waits for them.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m benchmarks.analysts replies
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m benchmarks.analysts waiting --cores 0 1

Both play generated ALFWorld games (or those of $ALFWORLD_DATA), eight attempts each, with a policy
in this process, and have a vLLM server of their own analyse every attempt. `replies` counts what
became of them, of attempts of the shipped policy. `waiting` measures how long analyses take after
the rollout has ended: once they all begin then, once each began when its attempt ended, while
others still played. The attempts are the same. There the policy is as large as the analyst's model,
so that a rollout takes about as long as its analyses. With `--cores`, each has one of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.hindsight.analysts.vllm_server import VLLMServer
from opid_lightning.hindsight.cache import AnalysisCache
from opid_lightning.hindsight.stream import AnalysisStream, Outcome
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import SilentObserver
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Policy, Trajectory, Usage

GROUP = 8


@dataclass
class Streaming(SilentObserver):
    """Has each trajectory analysed when it ends."""

    stream: AnalysisStream

    def on_trajectory_end(self, trajectory: Trajectory) -> None:
        self.stream.submit(trajectory, range(len(trajectory.steps)))


@dataclass(frozen=True)
class Iteration:
    """One rollout with its analyses."""

    trajectories: Sequence[Trajectory]
    outcomes: Sequence[Outcome]
    rollout_s: float
    exposed_s: float  # from the rollout's end to the last analysis

    @property
    def usage(self) -> Usage:
        return sum((outcome.analysis.usage for outcome in self.outcomes), Usage())

    @property
    def results(self) -> Counter[str]:
        return Counter(outcome.analysis.failure or "valid" for outcome in self.outcomes)


@dataclass(frozen=True)
class Bench:
    policy: Policy
    analyst: VLLMServer
    num_games: int
    concurrent: int
    workers: int
    max_steps: int

    def iteration(self, is_streamed: bool, seed: int) -> Iteration:
        with tempfile.TemporaryDirectory() as folder:
            # A new cache each time, so that every analysis is asked for.
            cache = AnalysisCache(Path(folder) / "analyses.sqlite")
            stream = AnalysisStream(self.analyst, cache, max_workers=self.workers)
            started = time.perf_counter()
            trajectories = self.rollout(
                Streaming(stream) if is_streamed else SilentObserver(), seed
            )
            ended = time.perf_counter()
            if not is_streamed:
                for trajectory in trajectories:
                    stream.submit(trajectory, range(len(trajectory.steps)))
            outcomes = stream.collect()
            exposed_s = time.perf_counter() - ended
            stream.close()
        found = tuple(outcomes[trajectory.id] for trajectory in trajectories)
        return Iteration(trajectories, found, ended - started, exposed_s)

    def rollout(self, observer: SilentObserver, seed: int) -> Sequence[Trajectory]:
        environment = ALFWorld(prompt_style="brief", history_length=30, max_steps=self.max_steps)
        sessions = SessionPool(environment)
        rollout = Rollout(GROUP, max_response_tokens=24, max_concurrent=self.concurrent)
        games = environment.tasks("train")[: self.num_games]
        encode = encode_chat(self.policy.tokenizer)
        with HuggingFace().serving(self.policy) as generation:
            played = tuple(rollout(sessions, games, generation, encode, seed, observer))
        sessions.close()
        return played


HEADER = f"{'analyses':14}{'rollout, s':>12}{'exposed, s':>12}{'in':>9}{'out':>8}  replies"


def row(name: str, iteration: Iteration) -> str:
    usage = iteration.usage
    told = ", ".join(f"{count} {result}" for result, count in iteration.results.most_common())
    return (
        f"{name:14}{iteration.rollout_s:>12.1f}{iteration.exposed_s:>12.1f}"
        f"{usage.prompt_tokens:>9}{usage.completion_tokens:>8}  {told}"
    )


def replies(bench: Bench, repeats: int) -> None:
    results = Counter[str]()
    print(HEADER, flush=True)
    for seed in range(repeats):
        iteration = bench.iteration(is_streamed=True, seed=seed)
        print(row("streamed", iteration), flush=True)
        results += iteration.results
    for outcome in iteration.outcomes[:: len(iteration.outcomes) // 4]:
        print(f"  for example: {outcome.analysis.skills or outcome.analysis.detail}")
    num_won = sum(trajectory.won for trajectory in iteration.trajectories)
    print(
        f"{results['valid']} of {results.total()} replies valid ({num_won} of "
        f"{len(iteration.trajectories)} attempts succeeded)"
    )


def waiting(bench: Bench, repeats: int) -> None:
    ratios = []
    print(HEADER, flush=True)
    for seed in range(repeats):
        at_end = bench.iteration(is_streamed=False, seed=seed)
        print(row("at the end", at_end), flush=True)
        streamed = bench.iteration(is_streamed=True, seed=seed)
        print(row("streamed", streamed), flush=True)
        ratios.append(at_end.exposed_s / streamed.exposed_s)
    lengths = [len(trajectory.steps) for trajectory in streamed.trajectories]
    print(
        f"{median(ratios):.1f} times less waiting; {len(lengths)} attempts of {min(lengths)} to "
        f"{max(lengths)} steps, {bench.concurrent} at a time, {bench.workers} analyses at a time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("replies", "waiting"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--policy", help="default: small for replies, smollm2 for waiting")
    parser.add_argument("--games", type=int, default=4)
    parser.add_argument("--concurrent", type=int, default=4, help="environments at a time")
    parser.add_argument("--workers", type=int, default=4, help="analyses at a time")
    parser.add_argument("--max-steps", type=int, help="default: 30 for replies, 10 for waiting")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--max-characters", type=int, default=200)
    parser.add_argument("--max-record-characters", type=int, default=3000)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--repairs", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cores", type=int, nargs=2, metavar=("POLICY", "SERVER"))
    given = parser.parse_args()
    is_waiting = given.what == "waiting"
    policy = load_policy(PolicySource(given.policy or ("smollm2" if is_waiting else "small")))
    max_steps = given.max_steps or (10 if is_waiting else 30)
    asking = ("max_tokens", "max_characters", "max_record_characters", "dtype", "repairs")
    settings = {name: getattr(given, name) for name in asking}
    # Long enough for a machine that is shared: what is measured is how long it takes.
    analyst = VLLMServer(
        given.model,
        start_timeout_s=3600.0,
        timeout_s=3600.0,
        analysis_timeout_s=3600.0,
        **settings,
    )
    if given.cores:
        os.sched_setaffinity(0, given.cores[1:])  # which the server inherits
    try:
        analyst.start()
        if given.cores:
            os.sched_setaffinity(0, given.cores[:1])
        bench = Bench(policy, analyst, given.games, given.concurrent, given.workers, max_steps)
        (waiting if is_waiting else replies)(bench, given.repeats)
    finally:
        analyst.close()


if __name__ == "__main__":
    main()
