"""Errors of the machine, whose files and disks are not as a run needs them: no bugs of ours."""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)
UNUSABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG,
    errno.ELOOP,
)  # fmt: skip
IN_THE_WAY = (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)
FULL_IN_RUST = f"(os error {errno.ENOSPC})"  # as safetensors says it


def said_of_machine(error: Exception, kept: str = "") -> str | None:
    """What to tell the user; None where it may be a bug.

    Args:
        error: what ended the verb.
        kept: what the run keeps, and how it is resumed.
    """
    place, number = None, None
    if isinstance(error, OSError):
        number = error.errno
        place = error.filename2 or error.filename  # the latter is a draft where there are both
    if number in FULL or FULL_IN_RUST in str(error):
        return (
            f"{f'{place}: ' if place else ''}No space is left on a disk that is written to. Make "
            "room there, or write elsewhere (trainer.default_root_dir, env.cache, out, TMPDIR). "
            f"{kept}"
        ).rstrip()
    if place is None or number not in (*UNUSABLE, *IN_THE_WAY):
        return None
    said = f"{place}: {error.strerror}."  # type: ignore[attr-defined]
    return f"{said} Something else is in its place: move it away." if number in IN_THE_WAY else said
