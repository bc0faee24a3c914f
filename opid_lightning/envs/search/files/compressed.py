"""Files as they are or compressed, by the ends of their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as arrow


def _open_zst(path: Path) -> Any:
    open_stream: Callable[..., Any] = arrow.input_stream
    return open_stream(str(path), compression="zstd")


def _open_as_it_is(path: Path) -> Any:
    return path.open("rb", buffering=0)


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
}
COMPRESSIONS = tuple(_OPENERS)
# Of reading what is cut short, or is not what its name says.
READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, arrow.ArrowException)


def plain_name(path: Path) -> str:
    """Without the compression's ending, in lower case."""
    name = path.name.lower()
    return name.removesuffix(path.suffix.lower()) if path.suffix.lower() in _OPENERS else name


def open_plain(path: Path) -> io.BufferedReader:
    """What the file holds, decompressed while it is read."""
    opened = _OPENERS.get(path.suffix.lower(), _open_as_it_is)(path)
    return io.BufferedReader(opened, buffer_size=1 << 16)
