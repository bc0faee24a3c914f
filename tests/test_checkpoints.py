"""Checkpoints on disk: whole, plain, and found again."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from opid_lightning.files.atomic import atomic_write
from opid_lightning.training.checkpoints.files import (
    CheckpointFiles,
    check_ends_an_iteration,
    newest_checkpoint,
)
from tests.keydoor_run import fit


def checkpoint(iterations: int, begun: int | None = None, numbers: int = 1) -> dict[str, Any]:
    current = {"ready": begun or iterations, "processed": iterations, "completed": iterations - 1}
    loops = {"fit_loop": {"epoch_progress": {"current": current}}}
    return {"loops": loops, "state_dict": {"weight": torch.ones(numbers)}}


def write(path: Path, iterations: int, seconds: int) -> Path:
    CheckpointFiles().save_checkpoint(checkpoint(iterations), path)
    os.utime(path, (seconds, seconds))
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------ written as a whole


@contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """As on a disk that gets full: no file may grow larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    files = CheckpointFiles()
    files.save_checkpoint(checkpoint(1), path)
    kept = path.read_bytes()
    advice = r"last\.ckpt cannot be written: .*File too large.*ckpt_path=last"
    with room_for(100_000), pytest.raises(ValueError, match=advice):
        files.save_checkpoint(checkpoint(2, numbers=100_000), path)
    assert path.read_bytes() == kept
    assert names_in(tmp_path) == ["last.ckpt"]


def test_what_a_killed_process_left_is_swept_by_the_next_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".draft-epoch=0-step=6.ckpt").write_bytes(b"half")
    (tmp_path / ".draft-epoch=1-step=9.ckpt").mkdir()
    (tmp_path / ".draft-epoch=1-step=9.ckpt" / "shard").touch()
    (tmp_path / "notes.txt").touch()
    CheckpointFiles().save_checkpoint(checkpoint(3), tmp_path / "epoch=2.ckpt")
    assert names_in(tmp_path) == ["epoch=2.ckpt", "notes.txt"]


def test_a_name_that_was_a_link_is_written_beside_its_target(tmp_path: Path) -> None:
    write(tmp_path / "epoch=0.ckpt", 1, seconds=1)
    (tmp_path / "last.ckpt").symlink_to("epoch=0.ckpt")
    CheckpointFiles().save_checkpoint(checkpoint(2), tmp_path / "last.ckpt")
    first = CheckpointFiles().load_checkpoint(tmp_path / "epoch=0.ckpt")
    assert first["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 1


def test_a_file_is_as_before_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with atomic_write(path) as file:
        file.write("old")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.write(b"not text")
    assert path.read_text() == "new"
    assert names_in(path.parent) == ["file"]


# ------------------------------------------------------------------ read as plain values


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_malicious_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, witness = tmp_path / "epoch=0.ckpt", tmp_path / "witness"
    torch.save({**checkpoint(1), "extra": Malicious(witness)}, path)
    refusal = r"epoch=0\.ckpt is not read: it holds more than weights and plain values"
    with pytest.raises(ValueError, match=refusal):
        fit(tmp_path / "run", resume_from=path, plugins=[CheckpointFiles()])
    with pytest.raises(ValueError, match=refusal):
        CheckpointFiles().load_checkpoint(path, weights_only=False)
    found, (complaint,) = newest_checkpoint(tmp_path)
    assert found is None and "could run any code" in complaint
    assert not witness.exists()


def test_half_a_checkpoint_is_called_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "epoch=0.ckpt", 1, seconds=1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"epoch=0\.ckpt is damaged .*Resume from another"):
        CheckpointFiles().load_checkpoint(path)


def test_a_run_writes_plain_checkpoints_that_are_read_as_such(tmp_path: Path) -> None:
    fit(tmp_path, iterations=1, plugins=[CheckpointFiles()])
    written = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    kinds = set(types_in(written))
    assert kinds <= {"dict", "list", "tuple", "str", "int", "float", "bool", "NoneType", "Tensor"}


def types_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (*types_in(key), *types_in(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from types_in(inner)
    else:
        yield type(value).__name__


# ------------------------------------------------------------------ found again


def newest_name(folder: Path) -> str:
    found, _ = newest_checkpoint(folder)
    assert found is not None
    return found.path.name


def test_last_is_what_is_called_so(tmp_path: Path) -> None:
    """Also in a copy that gave all files new times, and where a run was begun from earlier on."""
    write(tmp_path / "last.ckpt", 3, seconds=10)
    write(tmp_path / "epoch=0.ckpt", 1, seconds=30)
    assert newest_name(tmp_path) == "last.ckpt"
    write(tmp_path / "last.ckpt", 2, seconds=40)
    write(tmp_path / "epoch=9.ckpt", 10, seconds=20)
    assert newest_name(tmp_path) == "last.ckpt"


def test_an_iteration_that_is_not_called_last_yet_is_gone_on_from(tmp_path: Path) -> None:
    write(tmp_path / "last.ckpt", 3, seconds=10)
    write(tmp_path / "epoch=3.ckpt", 4, seconds=20)
    assert newest_name(tmp_path) == "epoch=3.ckpt"


def test_a_link_to_what_is_no_more_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "epoch=2.ckpt", 3, seconds=10)
    write(tmp_path / "epoch=3.ckpt", 4, seconds=20)
    (tmp_path / "last.ckpt").symlink_to("epoch=1.ckpt")
    found, complaints = newest_checkpoint(tmp_path)
    assert found is not None and (found.path.name, found.iterations) == ("epoch=3.ckpt", 4)
    assert complaints == []


def test_a_damaged_file_is_passed_over_and_named(tmp_path: Path) -> None:
    write(tmp_path / "epoch=2.ckpt", 3, seconds=10)
    damaged = write(tmp_path / "epoch=3.ckpt", 4, seconds=20)
    damaged.write_bytes(damaged.read_bytes()[:500])
    found, (complaint,) = newest_checkpoint(tmp_path)
    assert found is not None and found.path.name == "epoch=2.ckpt"
    assert "epoch=3.ckpt is damaged" in complaint


@pytest.mark.parametrize(
    "held", [{}, [1], torch.ones(3), {"loops": 5}, {"model.embed_tokens.weight": torch.ones(2)}]
)
def test_a_file_of_something_else_is_passed_over_and_named(tmp_path: Path, held: Any) -> None:
    """Weights alone, as of pytorch_model.bin, or what another program saved."""
    torch.save(held, tmp_path / "epoch=3.ckpt")
    write(tmp_path / "epoch=2.ckpt", 3, seconds=10)
    found, (complaint,) = newest_checkpoint(tmp_path)
    assert found is not None and found.path.name == "epoch=2.ckpt"
    assert "epoch=3.ckpt is no checkpoint of a run (it " in complaint
    with pytest.raises(ValueError, match=r"no checkpoint of a run .*policy\.path"):
        CheckpointFiles().load_checkpoint(tmp_path / "epoch=3.ckpt")


def test_a_draft_is_no_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / ".draft-epoch=0.ckpt", 1, seconds=10)
    assert newest_checkpoint(tmp_path) == (None, [])
    assert newest_checkpoint(tmp_path / "nowhere") == (None, [])


def test_a_checkpoint_amid_an_iteration_is_refused() -> None:
    check_ends_an_iteration(checkpoint(3))
    with pytest.raises(ValueError, match=r"amid iteration 4.*save_on_train_epoch_end=true"):
        check_ends_an_iteration(checkpoint(3, begun=4))
