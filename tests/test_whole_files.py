"""Folders that are there as a whole, when two processes make one at the same time."""

import os
from pathlib import Path

import pytest

from opid_lightning.files.atomic import folder_made_once, folder_written_whole


def test_what_is_made_once_stays_with_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with folder_made_once(folder) as second:
        (second / "by").write_text("second")
        with folder_made_once(folder) as first:
            (first / "by").write_text("first")
    assert (folder / "by").read_text() == "first"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "written"
    for by in ("first", "second"):
        with folder_written_whole(folder) as draft:
            (draft / "by").write_text(by)
    assert (folder / "by").read_text() == "second"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("fill", [folder_made_once, folder_written_whole])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, fill) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RuntimeError), fill(tmp_path / "made"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("umask", "of_files", "of_folders"),
    [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)],
)
def test_modes_are_those_of_the_umask(
    umask: int, of_files: int, of_folders: int, tmp_path: Path
) -> None:
    """Of a folder that began as a temporary one, with files that safetensors made private."""
    before = os.umask(umask)
    try:
        with folder_written_whole(tmp_path / "policy") as draft:
            (draft / "inner").mkdir(mode=0o700)
            (draft / "inner" / "model.safetensors").touch(mode=0o600)
    finally:
        os.umask(before)
    found = [tmp_path / "policy", *(tmp_path / "policy").rglob("*")]
    modes = {path.name: path.stat().st_mode & 0o777 for path in found}
    folders = dict.fromkeys(("policy", "inner"), of_folders)
    assert modes == folders | {"model.safetensors": of_files}
