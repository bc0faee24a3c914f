"""A disk that is full, wherever that shows, is said with what the run keeps."""

from __future__ import annotations

import errno
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from opid_lightning.cli.machine import said_of_machine
from opid_lightning.retrieval import Document, build_index


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "metrics.csv"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_whoever_notices(error: Exception) -> None:
    said = said_of_machine(error, "Kept: all.")
    assert said is not None
    assert "No space is left" in said and said.endswith("Kept: all.")
    assert ("metrics.csv" in said) == (getattr(error, "filename", None) is not None)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOENT, "No such file", "a"), OSError(errno.EISDIR, "dir"), KeyError("28")],
)
def test_what_may_be_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert said_of_machine(error) is None


def test_of_two_places_the_one_that_is_meant_is_named() -> None:
    error = OSError(errno.EISDIR, "Is a directory", ".draft-metrics.csv", None, "metrics.csv")
    assert str(said_of_machine(error)).startswith("metrics.csv: Is a directory. Something else")


@pytest.fixture
def files_of_four_kilobytes() -> Iterator[None]:
    """No file may grow beyond, which shows as a full disk does."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_an_index_that_cannot_be_written_is_named(
    tmp_path: Path, files_of_four_kilobytes: None
) -> None:
    documents = [Document(str(n), f"word{n} " * 50) for n in range(2000)]
    with pytest.raises(
        ValueError, match=r"the search index .*/index cannot be written .* are free"
    ):
        build_index(documents, tmp_path / "index")
