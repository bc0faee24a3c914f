"""Signals end whatever runs within 10 seconds, with 128 + n, and it says what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.kills import phases_of
from tests.resumed_runs import SETTINGS

PROMISE_S = 10.0


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    typed = (f"trainer.default_root_dir={folder}", "trainer.max_epochs=3", *more)
    phases = "callbacks.phases.class_path=benchmarks.kill_phases.PhaseLog"
    return subprocess.Popen(
        [sys.executable, "-m", "opid_lightning", "fit", *SETTINGS, phases, *typed],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(run: subprocess.Popen[str], folder: Path, phase: str, times: int) -> None:
    while [each.name for each in phases_of(folder)].count(phase) < times:
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    time.sleep(0.3)  # so that it is in the midst of it


def children_of(process: int) -> list[int]:
    shown = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True)
    return [int(pid) for pid in shown.stdout.split()]


def is_alive(process: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", str(process)], capture_output=True, text=True)
    return bool(shown.stdout) and not shown.stdout.startswith("Z")


def end(run: subprocess.Popen[str], number: signal.Signals) -> str:
    """What it said; it and all its processes are gone in time."""
    found = [child for child in children_of(run.pid) if is_alive(child)]
    family = [*found, *(grandchild for child in found for grandchild in children_of(child))]
    began = time.monotonic()
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert time.monotonic() - began < PROMISE_S
    assert run.returncode == 128 + number, said
    assert "Traceback" not in said
    while any(map(is_alive, family)):
        assert time.monotonic() - began < PROMISE_S, "a process was left behind"
        time.sleep(0.05)
    return said


HUNG = "env.class_path=tests.envs.slow.Hung"


def test_sigterm_in_a_rollout_ends_the_run_and_its_workers(tmp_path: Path) -> None:
    run = start(tmp_path, HUNG, "workers.num_processes=2")
    wait_for(run, tmp_path, "rollout", 1)
    said = end(run, signal.SIGTERM)
    assert "ended by SIGTERM. No iteration was finished" in said
    assert f"trainer.default_root_dir={tmp_path} ckpt_path=last" in said


def test_sigterm_in_an_evaluation_ends_the_run(tmp_path: Path) -> None:
    run = start(tmp_path, HUNG, "trainer.num_sanity_val_steps=-1")
    wait_for(run, tmp_path, "evaluation", 1)
    assert "ended by SIGTERM" in end(run, signal.SIGTERM)


def test_sigint_in_an_update_of_two_ranks_names_what_is_kept(tmp_path: Path) -> None:
    slow = "callbacks.slow.class_path=tests.envs.slow.SecondUpdateHangs"
    run = start(tmp_path, slow, "strategy=ddp", "trainer.devices=2")
    wait_for(run, tmp_path, "update", 2)
    said = end(run, signal.SIGINT)
    assert said.count("ended by SIGINT. Kept: the checkpoint after iteration 1") == 1


BUSY = """
import hashlib, os, signal, sys, time
from opid_lightning.cli.interruption import INTERRUPTION, Interrupted

with INTERRUPTION.listening():
    INTERRUPTION.kept = lambda: "Kept: all."
    {what}
"""


def script(what: str) -> subprocess.Popen[str]:
    """Prints a line when it has begun."""
    command = [sys.executable, "-c", BUSY.format(what=what)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_main_thread_that_hears_no_signal_is_ended_as_well() -> None:
    """As in a forward of many seconds: no handler of Python runs meanwhile."""
    busy = script("print(flush=True); hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)")
    assert busy.stdout is not None and busy.stdout.readline()
    assert "ended by SIGTERM. Kept: all." in end(busy, signal.SIGTERM)


def test_what_swallows_the_exception_is_ended_as_well() -> None:
    busy = script("""
    print(flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
""")
    assert busy.stdout is not None and busy.stdout.readline()
    assert "ended by SIGINT. Kept: all." in end(busy, signal.SIGINT)


def test_a_terminal_that_closes_ends_the_run() -> None:
    busy = script("""
    print(flush=True)
    try:
        time.sleep(60)
    except Interrupted as end:
        INTERRUPTION.tell(end.number)
        INTERRUPTION.leave(128 + end.number)
""")
    assert busy.stdout is not None and busy.stdout.readline()
    assert "ended by SIGHUP. Kept: all." in end(busy, signal.SIGHUP)


def test_nohup_keeps_a_run_alive() -> None:
    command = ["nohup", sys.executable, "-c", BUSY.format(what="print(flush=True); time.sleep(3)")]
    busy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert busy.stdout is not None and busy.stdout.readline()
    busy.send_signal(signal.SIGHUP)
    busy.communicate(timeout=30)
    assert busy.returncode == 0


def test_a_signal_to_a_forked_process_is_its_own() -> None:
    forking = script("""
    child = os.fork()
    if not child:
        time.sleep(60)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    time.sleep(6)
    print("lives", flush=True)
""")
    assert forking.communicate(timeout=60)[0] == "lives\n"
    assert forking.returncode == 0


def test_slurm_queues_the_job_again_before_sigterm_ends_it(tmp_path: Path) -> None:
    """`scontrol requeue` is answered by a SIGTERM while Lightning still waits for it."""
    (tmp_path / "scontrol").write_text(
        f'#!/bin/sh\nkill -TERM $PPID\nsleep 1\necho "$@" > {tmp_path}/asked\n'
    )
    (tmp_path / "scontrol").chmod(0o755)
    names = ("PROCID", "LOCALID", "NODEID")
    variables = {
        **dict.fromkeys((f"SLURM_{name}" for name in names), "0"),
        **dict.fromkeys(("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"), "1"),
        "SLURM_JOB_NAME": "opid",
        "SLURM_JOB_ID": "7",
        "SLURM_NODELIST": "localhost",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        run = start(tmp_path, HUNG)
    wait_for(run, tmp_path, "rollout", 1)
    run.send_signal(signal.SIGUSR1)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM, said
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
