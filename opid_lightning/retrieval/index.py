"""An inverted index in a folder: built in one pass over the documents, searched from many threads.

Ranking is BM25 as tantivy has it, with k1 = 1.2 and b = 0.75, which it does not let one choose.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tantivy

from opid_lightning.files.atomic import folder_written_whole
from opid_lightning.files.checksums import (
    DamagedError,
    check_files,
    checksum_of,
    checksums_in,
    write_checksums,
)
from opid_lightning.files.json_reading import read_json
from opid_lightning.retrieval.terms import analyzer, spaced, terms_of

MAX_TERMS = 1024  # different ones of a query, as in Lucene; the rest is left out, and said

VERSION = 3  # of the files and of the terms: an index of another version is built again
_CARD = "index.json"
_HEAP_BYTES = 128_000_000  # what the writer holds before it goes to disk
_CHECKED_BYTES = 2**30  # of a file: larger ones would take seconds, and have tantivy's own marks
_log = logging.getLogger(__name__)


class DamagedIndexError(ValueError):
    """An index whose files are not those that were written."""

    def __init__(self, folder: Path, reason: object) -> None:
        super().__init__(
            f"the index in {folder} is damaged ({reason}): remove the folder, and it is built again"
        )
        self.reason = reason


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
        with _writing(folder):
            writer = index.writer(_HEAP_BYTES, num_threads=1)
        count = _write(documents, writer, folder, keep_texts)
        card = {"version": VERSION, "stamp": stamp, "documents": count, "texts": keep_texts}
        (draft / _CARD).write_text(json.dumps(card) + "\n", encoding="utf-8")
        kept = [file for file in sorted(draft.iterdir()) if not file.name.startswith(".")]
        write_checksums(draft, {file.name: checksum_of(file) for file in kept})


def _write(
    documents: Iterable[Document], writer: tantivy.IndexWriter, folder: Path, keep_texts: bool
) -> int:
    count = 0
    try:
        for place, document in enumerate(documents):
            record = _record(document, place, keep_texts)
            with _writing(folder):
                writer.add_document(record)
            count += 1
        with _writing(folder):
            writer.commit()
    finally:
        with _writing(folder):
            writer.wait_merging_threads()  # or they would still write while the draft is removed
    return count


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """tantivy says that a thread of its own failed, and neither where nor why."""
    try:
        yield
    except ValueError as error:
        free = shutil.disk_usage(folder.parent).free
        raise ValueError(
            f"the search index {folder} cannot be written ({error}); {free:,} bytes are free on "
            "its disk, and it takes about as much as its texts. Make room there, or set env.cache "
            "to a folder elsewhere"
        ) from error


def _record(document: Document, place: int, keep_texts: bool) -> tantivy.Document:
    record = tantivy.Document(id=document.id, terms=spaced(document.text), place=place)
    if keep_texts:
        record.add_bytes("text", document.text.encode())
    return record


def is_built(folder: Path, stamp: str = "") -> bool:
    """Whether `folder` holds a whole index with that stamp."""
    try:
        card = _card(folder)
    except DamagedIndexError:
        return False
    return card.get("version") == VERSION and card.get("stamp") == stamp


def open_or_build(
    documents: Callable[[], Iterable[Document]],
    folder: Path,
    stamp: str = "",
    keep_texts: bool = False,
) -> Index:
    """Builds only where the folder does not hold an undamaged index with that stamp."""
    try:
        if is_built(folder, stamp) and _card(folder).get("texts") is keep_texts:
            return Index.open(folder)
        _card(folder)
    except DamagedIndexError as error:
        _log.warning("The index in %s is damaged (%s). It is built again.", folder, error.reason)
    try:
        build_index(documents(), folder, stamp, keep_texts)
    except OSError as error:
        raise ValueError(
            f"no index can be written to {folder}: {error}. Correct the permissions of that "
            "folder and of the one above it, free space, or choose another place with "
            "env.cache=FOLDER"
        ) from error
    return Index.open(folder)


class Index:
    """Open for searching; one serves any number of threads."""

    def __init__(self, folder: Path, card: dict[str, object]) -> None:
        self.folder = folder
        with _reading(folder):
            _check_bytes(folder)  # of the card, too
            self.stamp = str(card["stamp"])
            self.keeps_texts = bool(card["texts"])
            self._size = int(str(card["documents"]))
            index = tantivy.Index.open(str(folder))
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
        with _reading(self.folder):
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
    """What an index says of itself; blank where there is none."""
    try:
        return dict(read_json((folder / _CARD).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.is_dir() and any(folder.iterdir()):
            raise DamagedIndexError(folder, f"its {_CARD} is missing") from error
        return {}
    except OSError as error:
        raise _unreadable(folder, error) from error
    except (ValueError, TypeError) as error:
        raise DamagedIndexError(folder, f"{_CARD}: {error}") from error


def _unreadable(folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"the index in {folder} cannot be read: {error}. Correct the permissions of its files, or "
        "remove the folder, and it is built again"
    )


def _check_bytes(folder: Path) -> None:
    """Tantivy itself notices few wrong bits, and searches on among wrong texts."""
    checksums = checksums_in(folder)
    if _CARD not in checksums:
        raise DamagedError("its checksums are missing")
    small = {
        name: checksum
        for name, checksum in checksums.items()
        if not (folder / name).exists() or (folder / name).stat().st_size <= _CHECKED_BYTES
    }
    check_files(folder, small)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Raises DamagedIndexError for what tantivy says, or panics about, of a folder's files."""
    try:
        yield
    except OSError as error:
        raise _unreadable(folder, error) from error
    except BaseException as error:
        # The class of a panic cannot be imported.
        if isinstance(error, DamagedError | ValueError) or _is_panic(error):
            raise DamagedIndexError(folder, error) from error
        raise


def _is_panic(error: BaseException) -> bool:
    return type(error).__module__ == "pyo3_runtime"
