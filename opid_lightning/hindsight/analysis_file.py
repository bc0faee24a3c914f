"""The SQLite file that holds analyses: its tables, and what is refused when it is opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

APPLICATION_ID = 0x4F504944  # "OPID", in the header of files that are ours
VERSION = 1
BUSY_S = 30.0  # how long another process may be writing
RETRY_S = 0.01
FIXES = {
    sqlite3.SQLITE_BUSY: "End the program that holds it, or name another",
    sqlite3.SQLITE_FULL: "Make room on its disk, or name another",
    sqlite3.SQLITE_READONLY: "Make it and its folder writable, or name another",
}

# `answers` has one row for each question, the first that was given. `spending` has one for each
# analysis that asked a language model, whatever came of it.
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    trajectory_key TEXT NOT NULL,
    candidates TEXT NOT NULL,
    identity TEXT NOT NULL,
    trajectory TEXT NOT NULL,
    run TEXT NOT NULL,
    created TEXT NOT NULL,
    skills TEXT,
    failure TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS spending (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    run TEXT NOT NULL,
    created TEXT NOT NULL,
    failure TEXT NOT NULL,
    requests INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    repairs INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS spending_of_a_run ON spending (run);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


def open_to_write(path: Path, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """A connection to the file, which is made where there is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=busy_s, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise refusal(path, error) from error
    return prepared(connection, path, is_written=True)


def set_busy_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    """How long SQLite waits for other writers, in seconds."""
    connection.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Opens an existing file read-only; raises ValueError where it is not one of analyses."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    except sqlite3.Error as error:
        raise refusal(path, error) from error
    return prepared(connection, path, is_written=False)


def prepared(connection: sqlite3.Connection, path: Path, is_written: bool) -> sqlite3.Connection:
    """The connection, to a file that is ours and whole; any other is closed again."""
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        if is_written and is_blank(connection):
            connection.executescript(SCHEMA)
        check_ours(connection, path)
        if is_written:
            # A commit then survives the end of the process; only a power cut can lose the last.
            use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as error:
        connection.close()
        raise refusal(path, error) from error
    except ValueError:
        connection.close()
        raise
    return connection


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Waits while others read or write; SQLite itself gives up at once when it changes the mode.

    The ranks of a run open a new file in the same moment.
    """
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(RETRY_S)


def is_blank(connection: sqlite3.Connection) -> bool:
    """Whether the database has no tables and belongs to no program yet."""
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(count == 0) and pragma(connection, "application_id") == 0


def check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Raises ValueError for another program's database, another version, or damage."""
    if pragma(connection, "application_id") != APPLICATION_ID:
        raise refusal(path, "it is a database of another program")
    version = pragma(connection, "user_version")
    if version != VERSION:
        raise refusal(path, f"it is of version {version}, where {VERSION} is expected")
    if (found := pragma(connection, "quick_check")) != "ok":
        raise refusal(path, f"it is damaged: {found}")


def pragma(connection: sqlite3.Connection, name: str) -> object:
    """The value of one of SQLite's settings."""
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def refusal(path: Path, reason: str | Exception) -> ValueError:
    """The error that names the file, the reason, and what fixes it."""
    code = getattr(reason, "sqlite_errorcode", 0) & 0xFF
    fix = FIXES.get(code, "Move it away, or name another")
    return ValueError(
        f"{path} cannot be used as a file of analyses ({reason}). {fix}: "
        "callbacks.skill_extraction.cache is where they are kept, analyst.path what is replayed."
    )
