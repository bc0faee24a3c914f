"""docs/metrics.md names every metric, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from opid_lightning.callbacks import RolloutStatistics, StageTimer
from opid_lightning.learning.loss import Loss
from tests.keydoor_run import analysing, fit

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
# What a healthy run of two levels does not log.
NOT_IN_EVERY_RUN = re.compile(r"skills/failed_|validation/|test/|advantage/skill_to|loss/entropy")


def documented() -> list[str]:
    cells = re.findall(r"^\| (`.*?`) \|", DOCUMENT.read_text(), re.M)
    return [name for cell in cells for name in re.findall(r"`([a-z_]+/[^`]+)`", cell)]


def pattern(name: str) -> str:
    """`<task type>` and the like stand for any word."""
    return re.sub(r"<[a-z ]+>", r"[a-z_]+", name)


def test_what_is_logged_is_documented_and_what_is_documented_logged(tmp_path: Path) -> None:
    loss = Loss(distillation_weight=0.1)
    run = fit(tmp_path, [*analysing(), RolloutStatistics(), StageTimer()], loss=loss)
    undocumented = [
        name
        for name in run.metrics
        if not any(re.fullmatch(pattern(known), name) for known in documented())
    ]
    assert undocumented == []
    missing = [
        known
        for known in documented()
        if not NOT_IN_EVERY_RUN.match(known)
        and not any(re.fullmatch(pattern(known), name) for name in run.metrics)
    ]
    assert missing == []
