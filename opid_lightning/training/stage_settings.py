"""Stages with other settings than those that they were made with."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from lightning.pytorch.utilities import rank_zero_info

from opid_lightning.envs.workers import Workers
from opid_lightning.method.injection import Injection
from opid_lightning.method.routing import Routing
from opid_lightning.rollout.rollout import Rollout

_Stage = TypeVar("_Stage", Rollout, Routing, Injection)


def with_settings(stage: _Stage, **settings: Any) -> _Stage:
    """The stage with other settings, of whatever subclass it is."""
    other = copy.copy(stage)
    for name, value in settings.items():
        object.__setattr__(other, name, value)
    return other


def cap_concurrency(rollout: Rollout, workers: Workers) -> Rollout:
    """The rollout with no more live sessions than there are processes for."""
    if not 0 < workers.num_processes < rollout.max_concurrent:
        return rollout
    rank_zero_info(
        f"workers.num_processes={workers.num_processes}: so many games are played at once, and not "
        f"rollout.max_concurrent={rollout.max_concurrent}."
    )
    return with_settings(rollout, max_concurrent=workers.num_processes)
