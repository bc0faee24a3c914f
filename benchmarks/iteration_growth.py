"""CPU seconds of an iteration and its stages, by how many rows it has: they must grow linearly.

    OMP_NUM_THREADS=1 python -m benchmarks.iteration_growth [--rows 64 256 1024 4096] [--picture P]

The small policy plays generated ALFWorld games (or those of $ALFWORLD_DATA) with brief prompts as
`conf=alfworld` does, four attempts each, until there are about that many rows.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.iteration import Iteration, Models
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching, collate, totals_of
from opid_lightning.method.injection import Injection
from opid_lightning.method.loss import Loss
from opid_lightning.method.method import Method
from opid_lightning.method.routing import Routing
from opid_lightning.method.rules.additive import Additive
from opid_lightning.protocols import SilentObserver
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Experience, Hindsight, Policy, Task, Trajectory

STAGES = ("rollout", "analysis", "scoring", "update", "else")
GROUP = 4
ROWS_OF_A_TRAJECTORY = 14  # by the small policy, which wins a part of its games early


@dataclass
class Stopwatch(SilentObserver):
    """Notes how long each stage takes."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    begun: float = 0.0

    def on_stage_start(self, stage: str, total: int) -> None:
        self.begun = time.process_time()

    def on_stage_end(self, stage: str, num_tokens: int) -> None:
        name = "analysis" if stage == "hindsight" else stage
        self.seconds[name] += time.process_time() - self.begun


def by_rules(trajectories: Sequence[Trajectory]) -> Hindsight:
    found = {t.id: Rules()(t, range(len(t.steps))).skills for t in trajectories}
    return Hindsight({name: skills for name, skills in found.items() if skills is not None})


@dataclass(frozen=True)
class Bench:
    """Iterations as `conf=alfworld` has them, of which only the number of tasks differs."""

    policy: Policy
    environment: ALFWorld
    iteration: Iteration
    loss: Loss

    def __call__(self, tasks: Sequence[Task]) -> tuple[int, dict[str, float]]:
        """How many rows, and the seconds of each stage."""
        watch, sessions = Stopwatch(), SessionPool(self.environment)
        encode = encode_chat(self.policy.tokenizer)
        models = Models(self.policy, self.policy, None, encode, nullcontext)
        start = time.process_time()
        try:
            experience = self.iteration(0, 0, tasks, sessions, HuggingFace(), models, watch)
        finally:
            sessions.close()
        before_update = time.process_time()
        self.update(experience)
        end = time.process_time()
        seconds = {**watch.seconds, "update": end - before_update}
        seconds["else"] = end - start - sum(seconds.values())
        return len(experience.samples), seconds

    def update(self, experience: Experience) -> None:
        """All of it, without moving the weights: every size is played by the same policy."""
        optimizer = torch.optim.AdamW(self.policy.model.parameters(), lr=0.0, weight_decay=0.0)
        layout = self.iteration.batching.layout
        for step in experience.plan:
            trained = [experience.samples[i] for rows in step for i in rows]
            totals = totals_of(trained, len(step), self.iteration.rollout.max_response_tokens)
            for rows in step:
                samples = [experience.samples[i] for i in rows]
                batch = collate(samples, totals, self.policy.tokenizer.pad_token_id, 1.0, layout)
                logprobs, _ = response_logprobs(self.policy.model, batch.inputs, 1.0)
                self.loss(logprobs, None, batch).loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()


def draw(picture: Path, found: Sequence[tuple[int, dict[str, float]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for stage in STAGES:
        axes.plot([n for n, _ in found], [taken[stage] for _, taken in found], "o-", label=stage)
    axes.set(xscale="log", yscale="log", xlabel="rows of an iteration", ylabel="CPU seconds")
    axes.legend()
    figure.savefig(picture, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    environment = ALFWorld(prompt_style="brief", history_length=30)
    policy = load_policy(PolicySource("small"))
    policy.model.train()
    iteration = Iteration(
        Rollout(group_size=GROUP, max_response_tokens=24),
        Routing(),
        Injection(2048),
        Batching(None, share_prefixes=True),
        Advantage(state_weight=1.0),
        Method(Additive()),
    )
    bench = Bench(policy, environment, iteration, Loss(kl_weight=0.0))
    tasks = environment.tasks("train")
    bench(tasks[:1])  # to warm up
    print(f"{torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    print("| rows |", " | ".join(STAGES), "| all | ms a row |\n|" + "---|" * (len(STAGES) + 3))
    found = []
    for wanted in given.rows:
        found.append(bench(tasks[: max(1, round(wanted / GROUP / ROWS_OF_A_TRAJECTORY))]))
        num_rows, taken = found[-1]
        total = sum(taken.values())
        cells = [f"{taken[stage]:.1f} s, {taken[stage] / total:.0%}" for stage in STAGES]
        print(f"| {num_rows} |", " | ".join(cells), end=" ")
        print(f"| {total:.1f} s | {1000 * total / num_rows:.1f} |", flush=True)
    if given.picture:
        draw(given.picture, found)


if __name__ == "__main__":
    main()
