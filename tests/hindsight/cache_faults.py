"""What can happen to a file of analyses while a run uses it."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from opid_lightning.hindsight.cache import AnalysisCache

ROW = "INSERT INTO answers VALUES (NULL, ?, '', '[]', '', '', '', '', NULL, 'padding', '')"


def fill_up(cache: AnalysisCache) -> None:
    """Lets the file grow no further, as a full disk does, and leaves no room in it."""
    (pages,) = cache._connection.execute("PRAGMA page_count").fetchone()
    cache._connection.execute(f"PRAGMA max_page_count = {pages}")
    with suppress(sqlite3.OperationalError):
        for number in itertools.count():
            cache._connection.execute(ROW, (f"padding {number}",))


def make_room(cache: AnalysisCache) -> None:
    cache._connection.execute("PRAGMA max_page_count = 1000000")


@contextmanager
def locked(path: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Another program holds the file."""
    other = sqlite3.connect(path)
    other.execute(how)
    try:
        yield
    finally:
        other.rollback()
        other.close()


def edit(path: Path, **columns: object) -> None:
    """Of all answers."""
    connection = sqlite3.connect(path)
    for name, value in columns.items():
        connection.execute(f"UPDATE answers SET {name} = ?", (value,))
    connection.commit()
    connection.close()
