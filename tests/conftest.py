"""What holds for every test: shapes and types are checked, one thread, the same random numbers."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

# Before torch loads. Threads that wait for one another beside busy neighbours cost more than
# they give, and W&B must not look for a server.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from tests import typechecker

# Shapes are executed, so that a tensor of another width fails with both shapes in the message.
# Where there are no tensors, being wrapped would only cost time: parsing takes ten times as long.
# It must come before the package's first import.
SHAPED = ("types", "method", "lm", "sampling", "training", "callbacks")
install_import_hook(
    [f"opid_lightning.{name}" for name in SHAPED], f"{typechecker.__name__}.checked"
)

import torch

torch.set_num_threads(1)

# No test fails because the machine is busy, and every run tries the same examples, so that a test
# fails because of a change alone. To look for others: pytest --hypothesis-profile=explore
settings.register_profile(
    "explore", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("same", settings.get_profile("explore"), derandomize=True)
settings.load_profile("same")


# Where the ranks of a run meet, which Lightning leaves in the environment.
MEETING = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK")


@pytest.fixture(autouse=True)
def _no_port_left() -> Iterator[None]:
    """Child processes of later tests would take a port on which this process may still listen."""
    before = {name: os.environ[name] for name in MEETING if name in os.environ}
    yield
    for name in MEETING:
        os.environ.pop(name, None)
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    random.seed(0)
    torch.manual_seed(0)
