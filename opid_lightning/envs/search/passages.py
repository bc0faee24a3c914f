"""Passages of a corpus as Search-R1 keeps them: `{"id", "contents"}`, a title and then a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opid_lightning.envs.search.rows import read_rows

_EXPECTED = 'Expected {"id": ..., "contents": "title\\ntext"} in each row'


@dataclass(frozen=True)
class Passage:
    id: str
    contents: str  # its title, often in quotes, on the first line; then its text

    @property
    def title(self) -> str:
        return self.contents.partition("\n")[0].strip().strip('"')

    @property
    def text(self) -> str:
        """On one line."""
        return " ".join(self.contents.partition("\n")[2].split())


def read_passages(path: Path) -> Iterator[Passage]:
    """All, one at a time: a corpus may be larger than memory."""
    is_empty = True
    for row in read_rows(path):
        is_empty = False
        contents, name = row.values.get("contents"), row.values.get("id")
        if not isinstance(contents, str) or not contents.strip():
            held = ", ".join(map(str, row.values)) or "nothing"
            raise ValueError(
                f"{row.place} has no contents: it holds {held}. {_EXPECTED}"
                if contents is None
                else f"{row.place} has no contents: {contents!r}. {_EXPECTED}"
            )
        if name is None:
            raise ValueError(f"{row.place} has no id. {_EXPECTED}")
        yield Passage(str(name), contents.strip())
    if is_empty:
        raise ValueError(f"the corpus {path} holds no passages. {_EXPECTED}")


def write_passages(passages: Sequence[Passage]) -> str:
    """As a search shows them, a line each.

    Doc 1 (Title: Ada Brook) Ada Brook was born in Alder Hill in 1821.
    """
    return "\n".join(
        f"Doc {number} (Title: {passage.title}) {passage.text}".rstrip()
        for number, passage in enumerate(passages, start=1)
    )
