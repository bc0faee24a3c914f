"""Damaged checkpoints: a wrong bit is noticed, and the checkpoint before is resumed from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from benchmarks.flipped_bits import flip, outcome
from opid_lightning.cli.verbs.table import main
from opid_lightning.files.checksums import CHECKSUMS, SHARDS_METADATA
from opid_lightning.ranks import ALONE
from opid_lightning.training.checkpoints.files import (
    CheckpointFiles,
    check_readable,
    newest_checkpoint,
)
from opid_lightning.training.checkpoints.shard_folders import check_sealed, seal
from tests.resumed_runs import complaint, finished, fit, resumed
from tests.test_checkpoints import checkpoint, write


def damage_tensors(path: Path) -> None:
    """As a disk would: one bit of the first tensor."""
    flip(path, 8 * torch._C.PyTorchFileReader(str(path)).get_record_offset("data/0"))


def test_no_single_bit_of_a_checkpoint_is_wrong_in_silence(tmp_path: Path) -> None:
    """Also those that make a member look like a folder, or compressed, or another one's."""
    path, values = tmp_path / "epoch=0.ckpt", checkpoint(1)
    CheckpointFiles().save_checkpoint(values, path)
    size = path.stat().st_size
    directory = range(8 * path.read_bytes().index(b"PK\x01\x02"), 8 * size)
    draw, found = random.Random(0), set[str]()
    for bit in [*draw.sample(range(8 * size), 400), *draw.sample(directory, 600)]:
        flip(path, bit)
        found.add(outcome(path, values))
        flip(path, bit)
    assert found == {"noticed", "harmless"}


def test_the_bit_that_makes_a_member_a_folder_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "epoch=0.ckpt"
    CheckpointFiles().save_checkpoint(checkpoint(1), path)
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    while b"data/0" not in content[start : start + 80]:
        start = content.index(b"PK\x01\x02", start + 1)
    flip(path, 8 * (start + 38) + 4)  # the external attributes stand at byte 38
    with pytest.raises(ValueError, match=r"epoch=0\.ckpt is damaged"):
        CheckpointFiles().load_checkpoint(path)


def test_a_file_that_is_no_archive_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    found, (why,) = newest_checkpoint(tmp_path)
    assert found is None and "is damaged (File is not a zip file)" in why


def test_the_checkpoint_before_a_damaged_one_is_found(tmp_path: Path) -> None:
    write(tmp_path / "epoch=2.ckpt", 3, seconds=10)
    damage_tensors(write(tmp_path / "epoch=3.ckpt", 4, seconds=20))
    (tmp_path / "last.ckpt").symlink_to("epoch=3.ckpt")
    found, (why,) = newest_checkpoint(tmp_path)  # of one file one complaint
    assert found is not None and (found.path.name, found.iterations) == ("epoch=2.ckpt", 3)
    assert "last.ckpt is damaged" in why


def sealed_shards(folder: Path) -> Path:
    CheckpointFiles().save_checkpoint(checkpoint(1), folder / SHARDS_METADATA)
    for name in (".metadata", "__0_0.distcp"):
        (folder / name).write_bytes(name.encode() * 9)
    seal(folder, ALONE)
    return folder


def test_checksums_cover_every_file_of_shards(tmp_path: Path) -> None:
    folder = sealed_shards(tmp_path / "last.ckpt")
    check_readable(folder)
    for name in (".metadata", "__0_0.distcp", SHARDS_METADATA, CHECKSUMS):
        whole = (folder / name).read_bytes()
        flip(folder / name, 77)
        with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
            check_readable(folder)
        with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
            check_sealed(folder, ALONE)
        (folder / name).write_bytes(whole)
    (folder / "__0_0.distcp").unlink()
    with pytest.raises(ValueError, match=r"damaged \(its file '__0_0\.distcp' is missing\)"):
        check_readable(folder)


def test_shards_of_an_earlier_version_are_read_and_named(tmp_path: Path) -> None:
    folder = sealed_shards(tmp_path / "last.ckpt")
    (folder / CHECKSUMS).unlink()
    with pytest.warns(UserWarning, match="holds no checksums: damage to it would not be noticed"):
        check_sealed(folder, ALONE)


def test_a_run_resumes_from_the_checkpoint_before_the_damaged_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, 2) == 0
    newest = (tmp_path / "checkpoints" / "last.ckpt").resolve()
    damage_tensors(newest)
    assert fit(tmp_path, 3, f"ckpt_path={newest}") == 2
    assert "is damaged (Bad CRC-32 for file" in complaint(capsys)
    assert main(["export", f"ckpt_path={newest}", f"out={tmp_path / 'policy'}"]) == 2
    assert "is damaged" in complaint(capsys)
    assert resumed(tmp_path, 3) == 0
    assert finished(tmp_path / "checkpoints") == 3
