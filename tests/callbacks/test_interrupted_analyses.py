"""A run that is killed while its trajectories are analysed, and goes on: nothing is paid twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from opid_lightning.hindsight.cache import AnalysisCache
from tests.hindsight.analyst_behaviours import Answer, Request, good
from tests.hindsight.analyst_server import AnalystServer

TYPED = (
    "fit",
    "conf=keydoor",
    "trainer.limit_val_batches=0",
    "data.tasks_per_iteration=4",
    "rollout.group_size=4",
    "rollout.max_response_tokens=4",
    "batching.mini_batch_rows=64",
    "trainer.max_epochs=2",
    "callbacks.skill_extraction.max_workers=2",
    "~callbacks.progress_bar",
    "trainer.enable_progress_bar=false",
    "analyst=openai",
    "analyst.model=m",
)
PER_ITERATION = 16
NUM_BEFORE_THE_KILL = 20  # so in the second iteration


class Holding:
    """Answers well, so many times; then it keeps all waiting until it is told to go on."""

    def __init__(self, num_answers: int) -> None:
        self.num_answers = num_answers
        self.is_holding = True

    def __call__(self, request: Request) -> Answer:
        if self.is_holding and self.num_answers <= 0:
            return Answer(is_hanging=True)
        self.num_answers -= 1
        return good(request)


def command(server: AnalystServer, folder: Path, *typed: str) -> list[str]:
    place = (f"analyst.base_url={server.url}", f"trainer.default_root_dir={folder}")
    return [sys.executable, "-m", "opid_lightning", *TYPED, *place, *typed]


def finish(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def run_until_killed(command: Sequence[str], server: AnalystServer) -> None:
    """Kills it when it has been answered so often, and waits for the next answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while server.asked.total() <= NUM_BEFORE_THE_KILL:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1.0)  # for the last answer to arrive
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)
    return checkpoint["state_dict"]


@pytest.mark.slow
def test_a_run_that_is_killed_amid_analyses_pays_none_of_them_twice(tmp_path: Path) -> None:
    behaviour = Holding(NUM_BEFORE_THE_KILL)
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    with AnalystServer(behaviour) as server:
        run_until_killed(command(server, killed), server)
        answered = dict(server.answered)
        assert sum(answered.values()) == NUM_BEFORE_THE_KILL
        behaviour.is_holding = False
        shown = finish(command(server, killed, "ckpt_path=last"))
    assert {key: server.asked[key] for key in answered} == dict.fromkeys(answered, 1)
    assert set(server.answered.values()) == {1}
    assert f"of {2 * PER_ITERATION} trajectories succeeded" in shown
    cache = AnalysisCache(killed / "analyses.sqlite")
    assert cache.spent(str(killed)).requests == server.answered.total()
    cache.close()
    with AnalystServer("good") as server:
        finish(command(server, straight))
    learned, expected = weights_of(killed), weights_of(straight)
    assert all(torch.equal(learned[name], value) for name, value in expected.items())
