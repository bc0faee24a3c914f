"""Plants bugs one by one in a copy of this project: does a test notice each?

    python -m benchmarks.planted_bugs                     all of them, which takes an hour
    python -m benchmarks.planted_bugs --only kl           those whose name contains "kl"
    python -m benchmarks.planted_bugs --list              names and tests; checks that all still fit

Each bug of planted_bugs.yaml replaces one passage of one file, and names the tests that should
fail. The copy is in a temporary folder, so that nothing here is touched. Ends with status 1 if a
bug survives, or no longer fits the code.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = (".*", "runs", "runs-*", "outputs", "build", "dist", "*.egg-info", "__pycache__")
NOTICED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
SURVIVED = "SURVIVED"


@dataclass(frozen=True)
class Bug:
    """A passage that occurs once in a file, what stands there instead, and tests that notice."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


BUGS = [Bug(**bug) for bug in yaml.safe_load((ROOT / "benchmarks/planted_bugs.yaml").read_text())]


def passage_of(bug: Bug, root: Path) -> str:
    """The file's text. Raises ValueError where the bug does not fit it."""
    text = (root / bug.file).read_text(encoding="utf-8")
    if (count := text.count(bug.old)) != 1:
        raise ValueError(
            f"{bug.name}: its passage occurs {count} times in {bug.file}; expected once. Adapt it "
            "in benchmarks/planted_bugs.yaml"
        )
    return text


def result_of(bug: Bug, root: Path, limit_s: float) -> str:
    """The first test that fails, or why none did."""
    text, path = passage_of(bug, root), root / bug.file
    path.write_text(text.replace(bug.old, bug.new), encoding="utf-8")
    try:
        return first_failure(bug.tests, root, limit_s)
    finally:
        path.write_text(text, encoding="utf-8")


def first_failure(tests: Sequence[str], root: Path, limit_s: float) -> str:
    """Runs tests in the copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    variables = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = run.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)  # with the ranks that it started
        run.communicate()
        return f"{SURVIVED}: no test failed within {limit_s:g} s"
    if run.returncode == 0:
        return SURVIVED
    noticed = NOTICED.search(said)
    if run.returncode == 1 and noticed:
        return noticed[1]
    last_line = (said.strip().splitlines() or ["it said nothing"])[-1]
    return f"{SURVIVED}: pytest ended with status {run.returncode}: {last_line}"


def report(bugs: Sequence[Bug], limit_s: float) -> int:
    """Prints a line for each bug, and the total; returns how many survived."""
    num_survived = 0
    with tempfile.TemporaryDirectory(prefix="planted_bugs-") as folder:
        root = Path(folder) / ROOT.name
        shutil.copytree(ROOT, root, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        print("| bug | caught by |\n|---|---|")
        for bug in bugs:
            result = result_of(bug, root, limit_s)
            num_survived += result.startswith(SURVIVED)
            print(f"| {bug.name} | {result} |", flush=True)
    print(f"\n{len(bugs) - num_survived} of {len(bugs)} caught")
    return num_survived


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", metavar="NAME", help="bugs whose name contains it")
    parser.add_argument("--list", action="store_true", help="list the bugs; plant none")
    parser.add_argument("--limit-s", type=float, default=600.0, help="for the tests of one bug")
    options = parser.parse_args()
    bugs = [bug for bug in BUGS if options.only in bug.name]
    if not bugs:
        parser.error(f"no bug's name contains {options.only!r}; --list shows all")
    for bug in bugs:  # before any test runs for minutes
        passage_of(bug, ROOT)
    if options.list:
        print("\n".join(f"{bug.name}: {bug.file}; {' '.join(bug.tests)}" for bug in bugs))
        return 0
    return 1 if report(bugs, options.limit_s) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(str(error))
