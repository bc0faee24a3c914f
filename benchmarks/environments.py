"""What worker processes cost, and what waiting in threads saves.

    OMP_NUM_THREADS=1 python -m benchmarks.environments

Prints two tables: steps a second, start-up and memory of sessions in this process and in workers;
and the time of a rollout whose steps each take 50 ms without computing anything.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.slow_keydoor import Slow, SlowWaiting
from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.envs.workers import WorkerEnvironment, Workers
from opid_lightning.envs.workers.session import WorkerSession
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import Environment, Session, SilentObserver
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Task

NUM_SESSIONS = 64


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def walk(session: Session, task: Task, num_steps: int) -> None:
    """The last admissible action again and again; another game where this one is over."""
    seen = session.reset(task).observation
    for _ in range(num_steps):
        seen = session.reset(task).observation if seen.done else session.step(seen.admissible[-1])


def steps_per_s(sessions: Sequence[Session], tasks: Sequence[Task], num_steps: int) -> float:
    """Of all of them at once, each in a thread, where there are several."""
    walks = [lambda s=s, t=t: walk(s, t, num_steps) for s, t in zip(sessions, tasks, strict=True)]
    with ThreadPoolExecutor(len(walks)) as threads:
        took = seconds(lambda: list(threads.map(lambda call: call(), walks)))
    return len(walks) * num_steps / took


def memory_mb(process_id: int, kind: str) -> float:
    """`Private_` is what it holds alone, `Pss` with its share of what others hold, too."""
    text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(rf"^{kind}\w*:\s+(\d+) kB", text, re.M)) / 1024


def compare(name: str, environment: Environment, num_steps: int) -> None:
    tasks = [task for _ in range(NUM_SESSIONS) for task in environment.tasks("train")][
        :NUM_SESSIONS
    ]
    here = environment.open()
    in_process = steps_per_s([here], tasks[:1], num_steps)
    workers = WorkerEnvironment(environment, Workers(NUM_SESSIONS))
    start_s = seconds(workers.start)
    sessions: list[WorkerSession] = []
    fork_s = seconds(lambda: sessions.extend(workers.open() for _ in range(NUM_SESSIONS)))
    one = steps_per_s(sessions[:1], tasks[:1], num_steps)
    every = steps_per_s(sessions, tasks, max(num_steps // 16, 50))
    fork_server = workers._fork_server
    assert fork_server is not None
    processes = [session.process_id for session in sessions]
    private = sum(memory_mb(process, "Private_") for process in processes) / len(processes)
    whole = sum(
        memory_mb(process, "Pss(?=:)") for process in (*processes, fork_server._process.pid)
    )
    workers.close()
    print(
        f"| {name} | {in_process:,.0f} | {one:,.0f} | {every:,.0f} | {start_s:.1f} s | "
        f"{1000 * fork_s / NUM_SESSIONS:.1f} ms | {private:.1f} MB | {whole:.0f} MB |",
        flush=True,
    )


def roll(environment: Environment) -> float:
    policy = load_policy(PolicySource("keydoor"))
    tasks = environment.tasks("train")[:16]
    rollout = Rollout(4, max_prompt_tokens=64, skill_tokens=16, max_response_tokens=2)
    sessions, encode = SessionPool(environment), encode_chat(policy.tokenizer)
    with HuggingFace().serving(policy) as generation:
        took = seconds(lambda: rollout(sessions, tasks, generation, encode, 0, SilentObserver()))
    sessions.close()
    return took


def main() -> None:
    print("| | in process | one worker | 64 workers | start | fork | of a worker | of all |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    compare("keydoor", Keydoor(), 20_000)
    compare("ALFWorld", ALFWorld(), 2_000)
    workers = WorkerEnvironment(Slow(), Workers(NUM_SESSIONS))
    workers.start()
    print("\n| 64 games, 50 ms a step | rollout |\n|---|---|")
    print(f"| one after the other | {roll(Slow()):.1f} s |", flush=True)
    print(f"| max_waiting=64 | {roll(SlowWaiting()):.1f} s |")
    print(f"| workers.num_processes=64 | {roll(workers):.1f} s |")
    print(f"| steps that take no time | {roll(Keydoor()):.1f} s |")
    workers.close()


if __name__ == "__main__":
    main()
