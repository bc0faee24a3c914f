"""Types bad values for every setting, and says which are neither run nor refused by name.

    python benchmarks/fuzz_settings.py                        # all settings: about an hour
    python benchmarks/fuzz_settings.py --only trainer. loss.  # those that begin so
    python benchmarks/fuzz_settings.py --values null nan
    python benchmarks/fuzz_settings.py --show                 # those that ran as well, to read over

Each case is a run of its own: a process forked from one that has imported everything, up to the end
of the first iteration of a tiny keydoor run (of other environments and engines: until all objects
are built). It is `refused` where it ends with exit status 2 and one message that names the setting,
and `ran` where it ends with 0. All others are printed, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from opid_lightning.cli.config.choices import groups
from opid_lightning.cli.config.names import keys_of
from opid_lightning.cli.verbs.table import main as run_verb

VALUES = (
    *("null", "nan", ".inf", "-.inf", "-1", "0", "1e400", '""', "text", "[]", "{}", "true"),
    str(10**30),
)
TIME_LIMIT_S = 60
MEMORY_LIMIT = 12 << 30
TINY = (
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "data.tasks_per_iteration=2",
    "rollout.group_size=2", "evaluation.num_tasks=2", "trainer.num_sanity_val_steps=0",
    "env.max_steps=3", "batching.mini_batch_rows=4", "trainer.check_val_every_n_epoch=1",
)  # fmt: skip
# What is typed, and whether it is run or built alone.
BASES: dict[str, tuple[tuple[str, ...], bool]] = {
    "keydoor": (("conf=keydoor", *TINY), True),
    "fsdp2": (("conf=keydoor", *TINY, "strategy=fsdp2"), False),
    "wandb": (("conf=keydoor", *TINY, "logger=wandb"), False),
    "openai": (("conf=keydoor", *TINY, "analyst=openai", "analyst.model=x",
                "analyst.base_url=http://127.0.0.1:9/v1"), False),
    "analyst=vllm_server": (
        ("conf=keydoor", *TINY, "analyst=vllm_server", "analyst.model=smollm2"), False),
    "self": (("conf=keydoor", *TINY, "analyst=self", "sampler=vllm"), False),
    "scripted": (("conf=keydoor", *TINY, "sampler=scripted"), True),
    "vllm": (("conf=keydoor", *TINY, "sampler=vllm"), False),
    "sampler=vllm_server": (("conf=keydoor", *TINY, "sampler=vllm_server"), False),
    "lora": (("conf=keydoor", *TINY, "policy.lora={rank: 2}"), True),
    "alfworld": (("conf=alfworld",), False),
    "webshop": (("conf=webshop",), False),
    "search": (("conf=search", "env.retriever={}"), False),
}  # fmt: skip
EVERYWHERE = {"config", "trainer.default_root_dir"}


@dataclass(frozen=True)
class Case:
    """One setting, typed after a saved configuration."""

    base: str
    key: str
    value: str
    file: Path
    runs: bool

    def __str__(self) -> str:
        return f"{self.base:<20} {self.key}={self.value}"

    @property
    def typed(self) -> list[str]:
        is_group = self.key in groups()  # which a whole configuration no longer chooses
        start = BASES[self.base][0] if is_group else ("--config", str(self.file))
        return ["fit", *start, f"{self.key}={self.value}"]


@dataclass(frozen=True)
class Result:
    """How a case ended, and what it printed last."""

    verdict: str
    said: str


def printed(typed: Sequence[str], file: Path) -> None:
    """Saves the configuration that would run."""
    child = os.fork()
    if not child:
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), 1)
        with contextlib.suppress(SystemExit):
            run_verb(["fit", *typed, "--print_config"])
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)


def cases(folder: Path, only: Sequence[str], values: Sequence[str]) -> Iterator[Case]:
    """Each setting once, in the first configuration that has it."""
    seen = set(EVERYWHERE)
    for base, (typed, runs) in BASES.items():
        file = folder / f"{base}.yaml"
        printed(typed, file)
        tree = yaml.safe_load(file.read_text())
        del tree["trainer"]["default_root_dir"]
        file.write_text(yaml.safe_dump(tree))
        keys = {key for key in keys_of(tree) if "class_path" not in key or base == "keydoor"}
        here = keys | (set(groups()) if base == "keydoor" else set())
        for key in sorted(here - seen):
            if key.startswith(tuple(only) or ""):
                yield from (Case(base, key, value, file, runs) for value in values)
        seen |= here


def play(case: Case, folder: Path) -> None:
    """Runs the case in this process, and ends it with the exit status."""
    os.setpgrp()
    signal.alarm(TIME_LIMIT_S)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    status = 1
    try:
        if not case.runs:
            build_alone()
        status = run_verb([*case.typed, f"trainer.default_root_dir={folder}/run"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def build_alone() -> None:
    """Has Lightning CLI end where it would start the verb."""
    from opid_lightning.cli.verbs.training import OPIDCLI

    OPIDCLI._run_subcommand = lambda self, subcommand: None  # type: ignore[method-assign]


def judged(case: Case, status: int, output: str) -> Result:
    lines = [line for line in output.splitlines() if line.strip()] or [""]
    if os.WIFSIGNALED(status):
        return Result(f"ended by signal {os.WTERMSIG(status)}", lines[-1])
    code = os.waitstatus_to_exitcode(status)
    said = output.partition("opid_lightning: ")[2]
    if code == 0:
        return Result("ran", lines[-1])
    if code != 2 or "Traceback" in output:
        return Result("traceback", lines[-1])
    is_named = case.key.split(".")[-1] in said.partition("Set on the command line")[0]
    return Result("refused" if is_named else "unnamed", " ".join(said.split()))


def results(todo: Iterator[Case], folder: Path, jobs: int) -> Iterator[tuple[Case, Result]]:
    running: dict[int, tuple[Case, Path]] = {}
    while True:
        while len(running) < jobs and (case := next(todo, None)):
            own = Path(tempfile.mkdtemp(dir=folder))
            if not (child := os.fork()):
                play(case, own)
            running[child] = case, own
        if not running:
            return
        child, status = os.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it has left running
        case, own = running.pop(child)
        yield case, judged(case, status, (own / "output").read_text(errors="replace"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--values", nargs="*", default=VALUES)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    import opid_lightning.cli.verbs.training
    import opid_lightning.envs.keydoor  # noqa: F401

    os.environ.update(OPENAI_API_KEY="none", WANDB_MODE="offline")
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        todo = cases(Path(name), options.only, options.values)
        for case, result in results(todo, Path(name), options.jobs):
            counts[result.verdict] += 1
            if options.show or result.verdict not in ("refused", "ran"):
                print(f"{result.verdict:<12} {case}  |  {result.said[:300]}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return int(bool(counts.keys() - {"refused", "ran"}))


if __name__ == "__main__":
    sys.exit(main())
