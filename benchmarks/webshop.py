"""What WebShop costs, and how far it agrees with the original.

    python -m benchmarks.webshop [--data FOLDER] [--golden FILE] [--sizes 1000 100000]

FOLDER holds the original files, FILE the recorded answers of the reference's get_reward. Each
catalogue is built in a process of its own; memory is the most that it ever took, less what it
took before.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from opid_lightning.envs.webshop import WebShop
from opid_lightning.envs.webshop.expert import ReadingExpert
from opid_lightning.envs.webshop.products.splits import SPLITS
from opid_lightning.types import Observation

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "data" / "webshop_get_reward.json"
NUM_SESSIONS = 128
SECONDS = 5.0
ORIGINAL_ENOUGH = 0.5  # share of a free text's words that the expert wants to find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--golden", type=Path, default=GOLDEN)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--build", type=int, help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args()
    if given.build:
        print(json.dumps(build(given.build)))
        return
    print_parity(given.golden)
    with tempfile.TemporaryDirectory() as cache:
        print_shop("generated", WebShop(cache=cache, results_per_page=4), enough=1.0)
        if given.data:
            print_shop("original", WebShop(cache=cache, data=given.data), ORIGINAL_ENOUGH)
    for size in given.sizes:
        command = [sys.executable, "-m", "benchmarks.webshop", "--build", str(size)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        figures = ", ".join(f"{name} {value:.1f}" for name, value in row.items())
        print(f"{size:,} generated products: {figures}")


def print_shop(name: str, env: WebShop, enough: float) -> None:
    counts = {split: len(env.tasks(split)) for split in SPLITS}
    print(f"{name}: {sum(counts.values()):,} goals, {counts}")
    print(f"{name}: {steps_per_s(env):,.0f} steps/s with {NUM_SESSIONS} sessions")
    won, score = expert_success(env, enough)
    print(f"{name}: expert on valid_unseen wins {won:.1%}, mean score {score:.3f}")


def print_parity(path: Path) -> None:
    from tests.golden.suite import run_file

    verdicts = run_file(path)
    agreeing = sum(not verdict.reason for verdict in verdicts)
    print(f"reward: {agreeing} of {len(verdicts)} recorded cases agree to 1e-9")


def steps_per_s(env: WebShop) -> float:
    """Each session plays the expert's decisions, one step each in turn; only steps are timed."""
    tasks = env.tasks("train")
    rng = random.Random(0)
    playing = [start(env, rng.randrange(len(tasks))) for _ in range(NUM_SESSIONS)]
    num_steps, seconds = 0, 0.0
    while seconds < SECONDS:
        for place, (session, expert, _) in enumerate(playing):
            command = expert.decide().command
            started = time.perf_counter()
            seen = session.step(command)
            seconds += time.perf_counter() - started
            expert.see(command, seen)
            num_steps += 1
            if seen.done or expert.num_steps == env.max_steps:
                playing[place] = start(env, rng.randrange(len(tasks)))
    return num_steps / seconds


def start(env: WebShop, index: int, split: str = "train", enough: float = 1.0):  # type: ignore[no-untyped-def]
    session = env.open()
    opening = session.reset(env.tasks(split)[index])  # type: ignore[arg-type]
    expert = ReadingExpert.of(opening.goal, random.Random(index), env.max_steps, enough)
    expert.see(None, opening.observation)
    return session, expert, opening.observation


def expert_success(env: WebShop, enough: float) -> tuple[float, float]:
    scores = []
    for index in range(len(env.tasks("valid_unseen"))):
        session, expert, seen = start(env, index, "valid_unseen", enough)
        scores.append(play(session, expert, seen, env.max_steps))
    return sum(score == 1.0 for score in scores) / len(scores), sum(scores) / len(scores)


def play(session, expert: ReadingExpert, seen: Observation, max_steps: int) -> float:  # type: ignore[no-untyped-def]
    while not seen.done and expert.num_steps < max_steps:
        command = expert.decide().command
        seen = session.step(command)
        expert.see(command, seen)
    return session.score.value if session.score else 0.0


def build(size: int) -> dict[str, float]:
    before = peak_mb()
    with tempfile.TemporaryDirectory() as cache:
        env = WebShop(cache=cache, num_products=size)
        started = time.perf_counter()
        folder = env._folder
        built = time.perf_counter()
        memory = peak_mb() - before
        for split in SPLITS:
            env.tasks(split)
        listed = time.perf_counter()
        queries = [task.id for task in env.tasks("valid_unseen")[:200]]
        goals = [env.goal(env.task_from(name)).text for name in queries[:20]]
        searching = time.perf_counter()
        for goal in goals:
            env._catalogue.search(goal)
        searched = time.perf_counter()
        files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {
        "built in s": built - started,
        "with MB of memory": memory,
        "MB on disk": sum(files) / 1e6,
        "then tasks in ms": 1000 * (listed - built),
        "a search in ms": 1000 * (searched - searching) / len(goals),
    }


def peak_mb() -> float:
    """Of this process since it began; getrusage would count the parent's at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
