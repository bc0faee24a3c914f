"""An inverted index in a folder: built in one pass over the documents, searched from many threads.

Ranking is BM25 as tantivy has it, with k1 = 1.2 and b = 0.75, which it does not let one choose.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import tantivy

from opid_lightning.files.atomic import folder_written_whole
from opid_lightning.retrieval.terms import analyzer, spaced, terms_of

MAX_TERMS = 1024  # different ones of a query, as in Lucene; the rest is left out, and said

VERSION = 2  # of the files and of the terms: an index of another version is built again
_CARD = "index.json"
_HEAP_BYTES = 128_000_000  # what the writer holds before it goes to disk
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Document:
    """Something to find, by the words of its text."""

    id: str
    text: str


@dataclass(frozen=True)
class Hit:
    """A document that shares terms with a query."""

    id: str
    score: float
    text: str = ""  # the document's, where the index keeps texts


def build_index(
    documents: Iterable[Document], folder: Path, stamp: str = "", keep_texts: bool = False
) -> None:
    """Takes the place of what was in `folder`, once it is whole.

    `stamp` says what the documents are; who opens the index later can tell whether it is of
    those. No more than one document is held at a time, besides the writer's 128 MB.
    """
    with folder_written_whole(folder) as draft:
        index = tantivy.Index(_schema(keep_texts), path=str(draft))
        index.register_tokenizer("terms", analyzer())
        # One thread: with several, which documents stand together would be chance.
        count = _write(documents, index.writer(_HEAP_BYTES, num_threads=1), keep_texts)
        card = {"version": VERSION, "stamp": stamp, "documents": count, "texts": keep_texts}
        (draft / _CARD).write_text(json.dumps(card) + "\n", encoding="utf-8")


def _write(documents: Iterable[Document], writer: tantivy.IndexWriter, keep_texts: bool) -> int:
    count = 0
    try:
        for place, document in enumerate(documents):
            writer.add_document(_record(document, place, keep_texts))
            count += 1
        writer.commit()
    finally:
        writer.wait_merging_threads()  # or they would still write while the draft is removed
    return count


def _record(document: Document, place: int, keep_texts: bool) -> tantivy.Document:
    record = tantivy.Document(id=document.id, terms=spaced(document.text), place=place)
    if keep_texts:
        record.add_bytes("text", document.text.encode())
    return record


def is_built(folder: Path, stamp: str = "") -> bool:
    """Whether `folder` holds a whole index with that stamp."""
    card = _card(folder)
    return card.get("version") == VERSION and card.get("stamp") == stamp


def open_or_build(
    documents: Callable[[], Iterable[Document]],
    folder: Path,
    stamp: str = "",
    keep_texts: bool = False,
) -> Index:
    """Builds only where the folder does not hold an index with that stamp."""
    if not is_built(folder, stamp) or _card(folder)["texts"] != keep_texts:
        build_index(documents(), folder, stamp, keep_texts)
    return Index.open(folder)


class Index:
    """Open for searching; one serves any number of threads."""

    def __init__(self, folder: Path, card: dict[str, object]) -> None:
        self.folder = folder
        self.stamp = str(card["stamp"])
        self.keeps_texts = bool(card["texts"])
        self._size = int(str(card["documents"]))
        try:
            index = tantivy.Index.open(str(folder))
        except ValueError as error:
            raise ValueError(
                f"the index in {folder} is damaged ({error}): remove the folder, and it is built "
                "again"
            ) from error
        index.register_tokenizer("terms", analyzer())
        self._schema = index.schema
        self._searcher = index.searcher()

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Opens an index that `build` wrote; raises ValueError for another version."""
        card = _card(folder)
        if card.get("version") != VERSION:
            raise ValueError(
                f"there is no index of version {VERSION} in {folder}: its {_CARD} "
                f"{'says ' + repr(card.get('version')) if card else 'is not there'}. Build it anew"
            )
        return cls(folder, card)

    def __len__(self) -> int:
        return self._size

    def search(self, query: str, k: int) -> tuple[Hit, ...]:
        """At most `k` documents, best first, equally good ones in the order they were given.

        A query is plain text: quotes and operators are not looked at.
        """
        counts = Counter(terms_of(query))
        if len(counts) > MAX_TERMS:
            _log.warning("a query has %d terms: the first %d are taken", len(counts), MAX_TERMS)
        clauses = [
            (tantivy.Occur.Should, self._clause(term, count))
            for term, count in list(counts.items())[:MAX_TERMS]
        ]
        if not clauses or k < 1 or not self._size:
            return ()
        found = self._best(tantivy.Query.boolean_query(clauses), k)
        return tuple(self._hit(score, address) for score, _, address in found)

    def _clause(self, term: str, count: int) -> tantivy.Query:
        """A term that a query says twice counts twice."""
        query = tantivy.Query.term_query(self._schema, "terms", term, "freq")
        return tantivy.Query.boost_query(query, count) if count > 1 else query

    def _best(self, query: tantivy.Query, k: int) -> list[tuple[float, int, tantivy.DocAddress]]:
        """Asks for more until all that are as good as the last one are there."""
        limit = 2 * k
        while True:
            hits = self._searcher.search(query, limit, count=False).hits
            if len(hits) < limit or hits[-1][0] < hits[k - 1][0]:
                break
            limit *= 4
        places = self._searcher.fast_field_values("place", [address for _, address in hits])
        found = [(s, int(p or 0), a) for (s, a), p in zip(hits, places, strict=True)]
        return sorted(found, key=lambda hit: (-hit[0], hit[1]))[:k]

    def _hit(self, score: float, address: tantivy.DocAddress) -> Hit:
        document = self._searcher.doc(address)
        kept = document.get_first("text") if self.keeps_texts else None
        text = bytes(kept).decode() if kept is not None else ""
        return Hit(str(document.get_first("id")), score, text)


def _schema(keep_texts: bool) -> tantivy.Schema:
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    schema.add_text_field("terms", stored=False, tokenizer_name="terms", index_option="freq")
    if keep_texts:
        schema.add_bytes_field("text", stored=True)
    schema.add_integer_field("place", fast=True)  # in the order they were given, for ties
    return schema.build()


def _card(folder: Path) -> dict[str, object]:
    """What a whole index says of itself; blank where there is none."""
    try:
        return dict(json.loads((folder / _CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
