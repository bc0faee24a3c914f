"""Passages of a corpus: `{"id", "contents"}` as in Search-R1, or `{"id", "title", "text"}`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opid_lightning.envs.search.files.fields import field, first_field
from opid_lightning.envs.search.files.rows import Row, read_rows
from opid_lightning.files.omissions import Omissions

_EXPECTED = (
    'Expected in each row {"id": ..., "contents": "title\\ntext"}, or {"id": ..., "title": ..., '
    '"text": ...}; "_id" is read as well'
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Passage:
    """A document of the corpus."""

    id: str
    contents: str  # its title, often in quotes, on the first line; then its text

    @property
    def title(self) -> str:
        """The first line without quotes."""
        return self.contents.partition("\n")[0].strip().strip('"')

    @property
    def text(self) -> str:
        """On one line."""
        return " ".join(self.contents.partition("\n")[2].split())


def contents_of(document: Any) -> str | None:
    """A title, if it has one, and a text, from `contents` or `title` and `text`; else None."""
    contents = field(document, "contents")
    if isinstance(contents, str) and contents.strip():
        return contents.strip()
    title, text = field(document, "title"), field(document, "text")
    title = "" if title is None else title
    if not (isinstance(title, str) and isinstance(text, str) and text.strip()):
        return None
    return f'"{title.strip()}"\n{text.strip()}' if title.strip() else text.strip()


def read_passages(path: Path) -> Iterator[Passage]:
    """All, one at a time: a corpus may be larger than memory.

    Rows without a text or an id are left out, counted and reported at the end.
    """
    left_out, count = Omissions(), 0
    for row in read_rows(path, left_out):
        if passage := _passage(row, left_out):
            count += 1
            yield passage
    if not count:
        said = f": {left_out}" if left_out else ""
        raise ValueError(f"the corpus {path} holds no passages{said}. {_EXPECTED}")
    left_out.report(_log, f"{count:,} passages of {path}")


def _passage(row: Row, left_out: Omissions) -> Passage | None:
    contents, name = contents_of(row.values), first_field(row.values, "id", "docid")
    if contents is None:
        blank = field(row.values, "contents")
        left_out.add(
            "without contents",
            f"{row.place} has no contents: {row.held if blank is None else repr(blank)[:60]}",
        )
    elif name is None:
        left_out.add("without an id", f"{row.place} has no id")
    else:
        return Passage(str(name), contents)
    return None


def write_passages(passages: Sequence[Passage]) -> str:
    """As a search shows them, a line each.

    Doc 1 (Title: Ada Brook) Ada Brook was born in Alder Hill in 1821.
    """
    return "\n".join(
        f"Doc {number} (Title: {passage.title}) {passage.text}".rstrip()
        for number, passage in enumerate(passages, start=1)
    )
