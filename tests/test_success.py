from __future__ import annotations

import pytest

from opid_lightning.success import success_rates
from opid_lightning.types import Task, Trajectory


def attempts(kind: str, *won: bool) -> list[Trajectory]:
    return [Trajectory(Task(kind, kind), i, "", (), outcome) for i, outcome in enumerate(won)]


def test_macro_weighs_every_task_type_alike() -> None:
    rates = success_rates([*attempts("heat", True), *attempts("cool", True, False, False)])
    assert rates == {
        "success_micro": 2 / 4,
        "success_macro": (1 + 1 / 3) / 2,
        "success/cool": 1 / 3,
        "success/heat": 1.0,
    }


def test_no_trajectories_have_no_success_rate() -> None:
    with pytest.raises(ValueError, match="no trajectories"):
        success_rates([])
