"""Joins what several threads ask at the same time into one request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Gathering(Generic[Answer]):
    """While one request is out, queries gather; whoever is next sends them all.

    Nobody waits for others to come, so that a lone query goes out at once, and there is no thread
    to start or stop. Equal queries that wait together are asked once.
    """

    def __init__(self, ask: Callable[[Sequence[str]], Sequence[Answer]], max_queries: int) -> None:
        self._ask = ask
        self._max_queries = max_queries
        self._waiting: dict[str, Future[Answer]] = {}
        self._is_out = False
        self._changed = threading.Condition()

    def __call__(self, query: str) -> Answer:
        """What `ask` answers to this query, or raises for the request that it was part of."""
        with self._changed:
            future = self._waiting.setdefault(query, Future())
        while (taken := self._take(future)) is not None:
            self._send(taken)
        return future.result()

    def _take(self, mine: Future[Answer]) -> dict[str, Future[Answer]] | None:
        """Waits for an answer, or else for its turn to ask for all who wait."""
        with self._changed:
            self._changed.wait_for(lambda: mine.done() or not self._is_out)
            if mine.done():
                return None
            self._is_out = True
            queries = list(islice(self._waiting, self._max_queries))
            return {query: self._waiting.pop(query) for query in queries}

    def _send(self, taken: Mapping[str, Future[Answer]]) -> None:
        try:
            answered = list(zip(taken.values(), self._ask(list(taken)), strict=True))
        except BaseException as error:
            for future in taken.values():
                future.set_exception(error)
        else:
            for future, answer in answered:
                future.set_result(answer)
        finally:
            with self._changed:
                self._is_out = False
                self._changed.notify_all()
