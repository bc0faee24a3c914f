"""`python -m tests.golden DIRECTORY`: how far this project agrees with recorded cases."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.golden.suite import Verdict, run_file


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m tests.golden DIRECTORY  (one that holds recorded *.json files)")
        return 2
    paths = sorted(Path(arguments[0]).glob("*.json"))
    if not paths:
        print(f"{arguments[0]} holds no *.json files")
        return 2
    verdicts = [verdict for path in paths for verdict in report(path)]
    failed = sum(verdict.is_failure for verdict in verdicts)
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed else 0


def report(path: Path) -> list[Verdict]:
    """Runs one file and prints its line, and a line for each case that differs."""
    function = json.loads(path.read_text(encoding="utf-8"))["function"]
    verdicts = run_file(path)
    differing = [verdict for verdict in verdicts if verdict.reason]
    print(f"{function}: {len(verdicts) - len(differing)} agree, {len(differing)} differ")
    for verdict in differing:
        allowed = "" if verdict.is_failure else " (may differ: pathological or rounding)"
        print(f"  {verdict.case.id}: {verdict.reason}{allowed}")
    return verdicts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
