"""Checkpoints that are folders of each rank's shards: which strategy reads which."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities import rank_zero_warn

from opid_lightning.files.checksums import (
    DamagedError,
    check_files,
    checksum_of,
    checksums_in,
    shards_of_rank,
    write_checksums,
)
from opid_lightning.ranks import Ranks
from opid_lightning.training.checkpoints.files import ADVICE, plain_values, why_unreadable

SHARDS_OF = "shards_of"  # in a checkpoint: whose shards are beside it
ONE_FILE = "trainer.strategy.save_distributed_checkpoint=false"
FORMER = "fsdp"  # which earlier versions had as well


def check_reads(strategy: Strategy, checkpoint: str | None) -> None:
    """Raises where a folder of shards meets a strategy that knows none, or others."""
    if not checkpoint or not Path(checkpoint).is_dir():
        return
    reader, writer = getattr(strategy, SHARDS_OF, None), writer_of(checkpoint)
    if writer == FORMER:
        raise ValueError(
            f"{checkpoint} is a folder of strategy={writer}'s shards, which only the version that "
            "wrote it reads: resume there with trainer.strategy.state_dict_type=full, and its next "
            "checkpoint is one file, which every strategy reads"
        )
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
            f"{shards} does not say which strategy has written it: it is of an "
            "older version. Resume from a checkpoint of one file"
        )
    return str(values[SHARDS_OF])


def seal(folder: Path, ranks: Ranks) -> None:
    """Writes the checksums of what all ranks have written there; all of them call it."""
    mine = {file.name: checksum_of(file) for file in shards_of_rank(folder.iterdir(), ranks.rank)}
    parts = ranks.gather(mine)
    if ranks.rank == 0:
        write_checksums(folder, {name: part[name] for part in parts for name in part})


def check_sealed(folder: Path, ranks: Ranks) -> None:
    """Raises on all ranks where a file is not what was written; each reads its share of them."""
    try:
        checksums = checksums_in(folder)
        names = ranks.share(sorted(checksums))
        check_files(folder, {name: checksums[name] for name in names})
        complaint = ""
    except DamagedError as error:
        checksums, complaint = {"": 0}, f"{why_unreadable(folder, error)} {ADVICE}"
    if complaints := [each for each in ranks.gather(complaint) if each]:
        raise ValueError(complaints[0])
    if not checksums:
        rank_zero_warn(
            f"{folder} was written by an earlier version and holds no checksums: damage to it "
            "would not be noticed."
        )


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
