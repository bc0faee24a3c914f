"""Checkpoints that are folders of each rank's shards: which strategy reads which."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightning.pytorch.strategies import Strategy

from opid_lightning.checkpoints import plain_values

SHARDS_OF = "shards_of"  # in a checkpoint: whose shards are beside it
ONE_FILE = (
    "trainer.strategy.save_distributed_checkpoint=false (fsdp2) or "
    "trainer.strategy.state_dict_type=full (fsdp)"
)


def check_reads(strategy: Strategy, checkpoint: str | None) -> None:
    """Raises where a folder of shards meets a strategy that knows none, or others."""
    if not checkpoint or not Path(checkpoint).is_dir():
        return
    reader, writer = getattr(strategy, SHARDS_OF, None), writer_of(checkpoint)
    if reader is None:
        raise ValueError(
            f"{checkpoint} is a folder of shards, which {type(strategy).__name__} cannot read: "
            f"add strategy={writer}, with any trainer.devices, also 1. To write one file that "
            f"every strategy reads, train with {ONE_FILE}"
        )
    if reader != writer:
        raise ValueError(
            f"{checkpoint} is a folder of strategy={writer}'s shards, which strategy={reader} "
            f"cannot read: set strategy={writer}. To write one file that both read, train with "
            f"{ONE_FILE}"
        )


def writer_of(shards: str | Path) -> str:
    """The strategy by which a folder of shards was written."""
    values = plain_values(shards)
    if SHARDS_OF not in values:
        raise ValueError(
            f"{shards} does not say whether strategy=fsdp or fsdp2 has written it: it is of an "
            "older version. Go on from a checkpoint of one file"
        )
    return str(values[SHARDS_OF])


def replace_folder(path: Path, draft: Path) -> None:
    """Puts a finished folder in another's place. One of both is whole at any moment."""
    old = path.with_name(f".old-{path.name}")
    shutil.rmtree(old, ignore_errors=True)
    if path.is_dir():
        path.rename(old)
    elif path.exists():
        path.unlink()
    draft.rename(path)
    shutil.rmtree(old, ignore_errors=True)
