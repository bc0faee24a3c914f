"""Trajectories through a server that misbehaves: is any lost, and are deadlines kept?

OMP_NUM_THREADS=1 python -m benchmarks.analyst_faults --trajectories 10000

A real HTTP server in this process answers a good share of requests well, and is slow, hangs,
limits rates, breaks off, or talks nonsense on the others. Every rollout is submitted at once and
collected within a deadline; every trajectory must come back with one outcome, its own.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.hindsight.cache import AnalysisCache
from opid_lightning.hindsight.prompt import analysis_messages
from opid_lightning.hindsight.stream import AnalysisStream, Outcome
from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Prompt,
    PromptText,
    Step,
    Task,
    Trajectory,
)
from tests.hindsight.analyst_behaviours import Request, key_of
from tests.hindsight.analyst_server import AnalystServer

# Of 500 requests each; the others are answered well.
FAULTS = {
    "slow": 50,
    "hanging": 15,
    "dripping": 5,
    "rate_limited": 25,
    "server_error": 25,
    "unavailable": 10,
    "bad_request": 10,
    "cut": 15,
    "cut_amid": 15,
    "reset": 15,
    "garbage": 10,
    "enormous": 1,
    "empty": 5,
    "truncated": 5,
    "plain_text": 5,
    "wrong_schema": 10,
    "out_of_range": 10,
}
DRAWN = [name for name, count in FAULTS.items() for _ in range(count)]


@dataclass(frozen=True)
class Round:
    """One rollout: what was submitted, what came of it, and how long it was waited for."""

    trajectories: Sequence[Trajectory]
    outcomes: dict[str, Outcome]
    waited_s: float


def misbehave(request: Request) -> str:
    """By what is asked and how often, so that a retry may fare better."""
    drawn = hashlib.sha256(f"{request.key} {request.attempt}".encode()).digest()
    number = int.from_bytes(drawn[:4]) % 500
    return DRAWN[number] if number < len(DRAWN) else "good"


def analyst_of(server: AnalystServer) -> OpenAI:
    """Impatient, so that it is over soon."""
    return OpenAI(
        "m", server.url, timeout_s=2, analysis_timeout_s=5, backoff_s=0.05, max_backoff_s=0.5
    )


def play(
    server: AnalystServer, cache: Path, num_rounds: int, size: int, deadline_s: float
) -> Iterator[Round]:
    analyst = analyst_of(server)
    analyst.start()
    stream = AnalysisStream(analyst, AnalysisCache(cache), "run", max_workers=32)
    for number in range(num_rounds):
        trajectories = [trajectory_of(number, attempt) for attempt in range(size)]
        for trajectory in trajectories:
            stream.submit(trajectory, range(len(trajectory.steps)))
        began = time.monotonic()
        outcomes = stream.collect(deadline_s)
        yield Round(trajectories, outcomes, time.monotonic() - began)
    stream.close()
    analyst.close()


def trajectory_of(number: int, attempt: int) -> Trajectory:
    text = f"Room {attempt} of floor {number}."
    prompt = Prompt(PromptText("Leave.", text, "Act."), (1,), 0)
    completion = Completion("r", (1,), (-1.0,), "<action>leave</action>", False)
    step = Step(0, Observation(text), prompt, completion, Action("leave", True), 0.0)
    return Trajectory(Task(f"floor {number}", "leave"), attempt, "leave", (step,), False)


def faults_of(part: Round) -> list[str]:
    """What went wrong with our accounts of a round: nothing, one hopes."""
    submitted = [trajectory.id for trajectory in part.trajectories]
    found = [] if sorted(submitted) == sorted(part.outcomes) else ["trajectories were lost"]
    for trajectory in part.trajectories:
        analysis = part.outcomes[trajectory.id].analysis
        record = analysis_messages(trajectory, range(1))[-1]["content"]
        if analysis.skills is None and not analysis.failure:
            found.append(f"{trajectory.id} has neither skills nor a failure")
        elif analysis.skills and analysis.skills.episode_skill not in (
            f"Recall {key_of(record)}.",
            "k",  # of a reply about steps that do not exist
        ):
            found.append(f"{trajectory.id} has the skills of another")
    return found


def report(rounds: Sequence[Round], server: AnalystServer, deadline_s: float) -> None:
    failures = Counter(
        outcome.analysis.failure or "succeeded"
        for part in rounds
        for outcome in part.outcomes.values()
    )
    print(f"{failures.total()} trajectories, {len(server.requests)} requests")
    for name, count in failures.most_common():
        print(f"  {name:<18} {count:>6}")
    waits = [part.waited_s for part in rounds]
    print(f"waited {min(waits):.3f} to {max(waits):.3f} s where {deadline_s:g} s are the limit")
    complaints = [complaint for part in rounds for complaint in faults_of(part)]
    print("\n".join(complaints) or "each has one outcome, its own")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trajectories", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--deadline-s", type=float, default=20.0)
    options = parser.parse_args()
    size = options.trajectories // options.rounds
    with tempfile.TemporaryDirectory() as folder, AnalystServer(misbehave) as server:
        path = Path(folder) / "analyses.sqlite"
        rounds = list(play(server, path, options.rounds, size, options.deadline_s))
        report(rounds, server, options.deadline_s)


if __name__ == "__main__":
    main()
