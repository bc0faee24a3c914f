"""`retriever`: serves the passages of a corpus as Search-R1's retriever does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.errors import UsageError, unused
from opid_lightning.cli.verbs.table import RETRIEVER_INPUTS
from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.passages import Passage, read_passages
from opid_lightning.envs.search.retriever.local import is_indexed, open_index, scored
from opid_lightning.envs.search.retriever.service import RetrieverService, Search
from opid_lightning.envs.search.world import corpus_of

USAGE = """\
usage: python -m opid_lightning retriever [corpus=FILE] [port=8000] [host=127.0.0.1] [topk=3]
                                          [cache=FOLDER] [dense=MODEL]

  corpus   JSONL, JSON or Parquet with {"id", "contents"} or {"id", "title", "text"}, also as .gz,
           .bz2, .xz or .zst; without it, the generated world
  port     0 for any that is free
  host     0.0.0.0 to be reached from other machines; nobody is asked for a password
  topk     passages of a request that does not say how many
  cache    folder for the BM25 index; default: in the user's cache folder
  dense    a folder or hub name of an encoder, instead of BM25: mean-pooled, normalised, all
           compared; query_prefix="query: " and passage_prefix="passage: " for models such as E5

POST /retrieve {"queries": [text, ...], "topk": 3, "return_scores": true}
  -> {"result": [[{"document": {"id", "contents"}, "score"}, ...], ...]}
POST /retrieve {"query": text, ...} is answered alike, with the list of one query.
GET /health -> {"status": "ok", "passages": number}

Ends with Ctrl-C or SIGTERM, once what was asked is answered.
"""
Watched = Callable[[Iterable[Passage]], Iterable[Passage]]


def run(arguments: Arguments) -> None:
    """Serves until SIGINT or SIGTERM."""
    if arguments.wants_help:
        print(USAGE)
        return
    refuse_unused(arguments)
    port, topk = number(arguments, "port", 8000, 0), number(arguments, "topk", 3, 1)
    search, num_passages, what = searcher(arguments)
    host = arguments.input("host") or "127.0.0.1"
    service = RetrieverService(search, num_passages, host, port, topk)
    ended = threading.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: ended.set())
    service.start()
    print(f"Serving {what} at {service.url}/retrieve; Ctrl-C ends it.", flush=True)
    ended.wait()
    service.stop()
    print("Ended.", flush=True)


def refuse_unused(arguments: Arguments) -> None:
    """Raises UsageError for settings, which `retriever` has none of."""
    typed = [setting.typed for setting in arguments.settings]
    typed += [f"~{key}" for key in arguments.removed] + list(arguments.flags)
    typed += [f"conf={arguments.conf}"] if arguments.conf else []
    typed += [f"--config {arguments.config}"] if arguments.config else []
    if typed:
        raise UsageError(unused("retriever", typed[0], RETRIEVER_INPUTS))


def number(arguments: Arguments, key: str, default: int, least: int) -> int:
    """A whole number of at least `least` among the inputs, or its default."""
    typed = arguments.input(key)
    if typed is None:
        return default
    if not typed.isdecimal() or int(typed) < least:
        raise UsageError(f"{key} is {typed!r}. Expected a whole number of at least {least}.")
    return int(typed)


def searcher(arguments: Arguments) -> tuple[Search, int, str]:
    """What answers queries, how many passages it has, and what they are."""
    given, cache = arguments.input("corpus"), arguments.input("cache")
    corpus = Path(given).expanduser() if given else corpus_of(SearchQA(cache=cache).world)
    if (model := arguments.input("dense")) is not None:
        return dense(corpus, model, arguments)
    with watching("indexing") as watched:
        index = open_index(corpus, cache, iter if is_known(corpus, cache) else watched)

    def search(queries: Sequence[str], topk: int) -> list[list[tuple[Passage, float]]]:
        return [scored(index, query, topk) for query in queries]

    return search, len(index), f"{len(index):,} passages of {corpus} by BM25"


def is_known(corpus: Path, cache: str | None) -> bool:
    """Whether the corpus has an index of this version on disk already."""
    return corpus.is_file() and is_indexed(corpus, cache)


def dense(corpus: Path, model: str, arguments: Arguments) -> tuple[Search, int, str]:
    """A search by embeddings, the number of passages, and how to call both."""
    from opid_lightning.envs.search.retriever.dense import Dense, Encoder

    prefixes = (arguments.input(f"{side}_prefix") or "" for side in ("query", "passage"))
    encoder = Encoder.load(model, *prefixes)
    with watching("encoding") as watched:
        index = Dense(read_passages(corpus), encoder, watched)
    return index.scored, len(index), f"{len(index):,} passages of {corpus} by {model}"


@contextmanager
def watching(what: str) -> Iterator[Watched]:
    """Shows how many passages were taken, on the error stream."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def watched(passages: Iterable[Passage]) -> Iterable[Passage]:
            total = len(passages) if isinstance(passages, list) else None
            return progress.track(passages, total=total)

        yield watched
