"""Checksums of checkpoints: whether the bytes on disk are those that were written."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from opid_lightning.files.atomic import atomic_write
from opid_lightning.files.json_reading import read_json

CHECKSUMS = "checksums.json"  # in a folder of shards: CRC-32 by the name of a file
SHARDS_METADATA = "meta.pt"  # what Lightning writes last into such a folder
CHUNK_BYTES = 2**20


class DamagedError(Exception):
    """A checkpoint whose bytes are not those that were written."""


# What zipfile raises for an archive of which bits are wrong, besides its own error: sizes and
# offsets out of range, names that are no text, members that seem encrypted or compressed.
BROKEN = (
    BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip


def check_whole(path: Path) -> None:
    """Raises DamagedError where a file, or a folder of shards, differs from what was written."""
    if path.is_dir():
        check_archive(path / SHARDS_METADATA)
        check_files(path, checksums_in(path))
    else:
        check_archive(path)


def check_plain_values(path: Path) -> None:
    """The same for all but the tensors, which is quick."""
    check_archive(path / SHARDS_METADATA if path.is_dir() else path, with_tensors=False)


def check_archive(path: Path, with_tensors: bool = True) -> None:
    """Reads what `torch.save` wrote, a zip archive, against the checksums that it holds."""
    stat = path.stat()
    _check_archive(path.resolve(), with_tensors, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)  # a run looks for its checkpoint, and then loads it
def _check_archive(path: Path, with_tensors: bool, size: int, written_at: int) -> None:
    try:
        with ZipFile(path) as archive:
            for member in archive.infolist():
                if with_tensors or not is_tensor(member):
                    check_member(archive, member)
    except FileNotFoundError:
        raise
    except BROKEN as error:
        raise DamagedError(str(error) or type(error).__name__) from error


def check_member(archive: ZipFile, member: ZipInfo) -> None:
    """Reads a member of a torch archive; raises BadZipFile where its checksum differs."""
    is_plain = member.compress_type == ZIP_STORED and member.file_size == member.compress_size
    if not is_plain or member.external_attr:  # of which one bit would make it a folder
        raise BadZipFile(f"{member.filename!r} is not stored as torch.save does")
    with archive.open(member) as content:  # raises BadZipFile at its end if the checksum differs
        while content.read(CHUNK_BYTES):
            pass


def is_tensor(member: ZipInfo) -> bool:
    """Whether a member holds the numbers of a tensor."""
    return Path(member.filename).parent.name == "data"


def checksums_in(folder: Path) -> dict[str, int]:
    """Empty where an older version has written the folder."""
    file = folder / CHECKSUMS
    if not file.exists():
        return {}
    try:
        found = read_json(file.read_bytes())
        return {str(name): int(checksum) for name, checksum in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"{CHECKSUMS}: {error}") from error


def check_files(folder: Path, checksums: Mapping[str, int]) -> None:
    """Raises DamagedError for the first file that is missing or differs."""
    for name, expected in checksums.items():
        file = folder / name
        if not file.exists():
            raise DamagedError(f"its file {name!r} is missing")
        if checksum_of(file) != expected:
            raise DamagedError(f"the checksum of {name} is not the one in {CHECKSUMS}")


def checksum_of(file: Path) -> int:
    """CRC-32 of a file, remembered until its size or time of change differ."""
    stat = file.stat()
    return _checksum_of(file.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)  # the files of many ranks
def _checksum_of(file: Path, size: int, written_at: int) -> int:
    checksum = 0
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def shards_of_rank(files: Iterable[Path], rank: int) -> list[Path]:
    """Those that it wrote; the first rank also has what belongs to none."""
    prefix = f"__{rank}_"
    return [
        file
        for file in files
        if file.name.startswith(prefix) or (rank == 0 and not file.name.startswith("__"))
    ]


def write_checksums(folder: Path, checksums: Mapping[str, int]) -> None:
    """Writes the checksums of a folder's files beside them."""
    with atomic_write(folder / CHECKSUMS) as file:
        json.dump(checksums, file, indent=1, sort_keys=True)
