"""BM25 over a corpus in this process, with its index on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from opid_lightning.envs.search.cache import fingerprint
from opid_lightning.envs.search.passages import Passage, read_passages
from opid_lightning.files.user_cache import cache_folder
from opid_lightning.retrieval import Document, Index, is_built, open_or_build


class Retriever(Protocol):
    """Finds passages. Called from several threads."""

    def __call__(self, query: str) -> Sequence[Passage]:
        """The best ones, best first."""


@dataclass(frozen=True)
class BM25:
    """Passages that share rare words with a query."""

    index: Index
    topk: int

    def __call__(self, query: str) -> tuple[Passage, ...]:
        """The best `topk` passages, best first."""
        return tuple(passage for passage, _ in scored(self.index, query, self.topk))


def scored(index: Index, query: str, topk: int) -> list[tuple[Passage, float]]:
    """The best `topk` passages with their BM25 scores, best first."""
    return [(Passage(hit.id, hit.text), hit.score) for hit in index.search(query, topk)]


def open_index(
    corpus: Path,
    cache: str | None = None,
    watched: Callable[[Iterable[Passage]], Iterable[Passage]] = iter,
) -> Index:
    """Built at the first time, and again when the file has changed; kept in the cache folder.

    `watched` may look on while the corpus is read.
    """
    if not corpus.is_file():
        next(read_passages(corpus))  # says what is wrong
    folder, stamp = index_folder(corpus, cache), fingerprint(corpus)

    def documents() -> Iterable[Document]:
        return (Document(p.id, p.contents) for p in watched(read_passages(corpus)))

    return open_or_build(documents, folder, stamp, keep_texts=True)


def is_indexed(corpus: Path, cache: str | None = None) -> bool:
    """Whether an index of this very corpus is on disk."""
    return is_built(index_folder(corpus, cache), fingerprint(corpus))


def index_folder(corpus: Path, cache: str | None) -> Path:
    """One for each corpus, by its path."""
    return cache_folder("search", cache) / "indices" / fingerprint(corpus, by_path=True)
