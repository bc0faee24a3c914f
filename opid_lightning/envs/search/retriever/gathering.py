"""Joins what several threads ask at the same time into one request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
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
        self._changing = threading.Lock()
        self._turn = threading.Lock()

    def __call__(self, query: str) -> Answer:
        """What `ask` answers to this query, or raises for the request that it was part of."""
        with self._changing:
            future = self._waiting.setdefault(query, Future())
        with self._turn:
            while not future.done():
                self._send()
        return future.result()

    def _send(self) -> None:
        with self._changing:
            queries = list(islice(self._waiting, self._max_queries))
            futures = [self._waiting.pop(query) for query in queries]
        try:
            answers = self._ask(queries)
        except BaseException as error:
            for future in futures:
                future.set_exception(error)
            return
        for future, answer in zip(futures, answers, strict=True):
            future.set_result(answer)
