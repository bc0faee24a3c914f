"""Asks a retriever service: many sessions' queries at a time, again after errors, once if equal."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import httpx

from opid_lightning.envs.search.passages import Passage
from opid_lightning.envs.search.retriever.exchange import (
    ServiceTrouble,
    endpoint,
    retrieve,
    retrieve_one,
)
from opid_lightning.envs.search.retriever.gathering import Gathering
from opid_lightning.servers.health import CONNECTIONS
from opid_lightning.value_checks import LONGEST_S, check_range

_REFUSES_THE_FORM = (400, 422, 500)  # what servers say of a request that they do not understand
_JITTER = random.Random()  # of its own, so that the run's random numbers stay the same
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """A retriever service, and how it is asked."""

    url: str | None = None  # http://HOST:PORT; null: an index in this process
    timeout_s: float = 30.0  # time limit of a request
    retries: int = 6  # retries of a request before the run ends
    backoff_s: float = 0.5  # longest wait before the first retry; it doubles each time
    max_backoff_s: float = 30.0  # longest wait before a retry
    max_queries: int = 64  # queries of a request at most
    cached_queries: int = 10_000  # queries whose passages are kept

    def __post_init__(self) -> None:
        least = {"retries": 0, "max_queries": 1, "cached_queries": 0}
        for name, bound in least.items():
            check_range(f"env.retriever.{name}", getattr(self, name), at_least=bound)
        for name in ("timeout_s", "backoff_s", "max_backoff_s"):
            check_range(f"env.retriever.{name}", getattr(self, name), above=0, at_most=LONGEST_S)
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(
                f"env.retriever.url is {self.url!r}, expected http://HOST:PORT of a retriever"
            )


class RetrieverClient:
    """A retriever that is elsewhere. Called from several threads."""

    def __init__(self, service: Service, topk: int) -> None:
        assert service.url is not None
        self.service = service
        self.url = service.url
        self.topk = topk
        self._http = httpx.Client(timeout=service.timeout_s, **CONNECTIONS)
        self._gathering = Gathering(self._ask, service.max_queries)
        self._cached: OrderedDict[str, tuple[Passage, ...]] = OrderedDict()
        self._changing = threading.Lock()
        self._is_started = False
        self._form: Literal["queries", "query"] | None = None  # what it takes, once that is known

    def start(self, question: str) -> None:
        """Makes sure that it answers, with passages to a question that will be asked."""
        if self._is_started:
            return
        try:
            (found,) = self._retrieve([question])
        except ServiceTrouble as trouble:
            raise ValueError(self._complaint(trouble)) from trouble
        if not found:
            raise ValueError(
                f"the retriever {endpoint(self.url)} finds nothing for the question {question!r}. "
                "Have it serve the corpus that env.*_questions are about: python -m opid_lightning "
                "retriever corpus=FILE"
            )
        self._is_started = True

    def __call__(self, query: str) -> tuple[Passage, ...]:
        """Raises ValueError where the service fails for good."""
        with self._changing:
            if query in self._cached:
                self._cached.move_to_end(query)
                return self._cached[query]
        found = self._ask([query])[0] if self._form == "query" else self._gathering(query)
        with self._changing:
            self._cached[query] = found
            while len(self._cached) > self.service.cached_queries:
                self._cached.popitem(last=False)
        return found

    def _ask(self, queries: Sequence[str]) -> list[tuple[Passage, ...]]:
        for num_retries in range(self.service.retries + 1):
            try:
                return self._retrieve(queries)
            except ServiceTrouble as trouble:
                if not trouble.may_pass or num_retries == self.service.retries:
                    raise ValueError(self._complaint(trouble, num_retries)) from trouble
                delay_s = self._delay_s(num_retries)
                _log.warning(
                    "the retriever %s: %s; asked again in %.1f s", self.url, trouble, delay_s
                )
                time.sleep(delay_s)
        raise AssertionError("the last try returns or raises")

    def _retrieve(self, queries: Sequence[str]) -> list[tuple[Passage, ...]]:
        """All in one request, or one by one from a server that turns out to want it so."""
        if self._form == "query":
            return self._one_by_one(queries)
        try:
            found = retrieve(self._http, self.url, queries, self.topk)
        except ServiceTrouble as refused:
            if self._form or refused.status not in _REFUSES_THE_FORM:
                raise
            try:
                found = self._one_by_one(queries)
            except ServiceTrouble:
                raise refused from None
            self._form = "query"
        else:
            self._form = "queries"
        return found

    def _one_by_one(self, queries: Sequence[str]) -> list[tuple[Passage, ...]]:
        return [retrieve_one(self._http, self.url, query, self.topk) for query in queries]

    def _delay_s(self, num_retries: int) -> float:
        """Exponential backoff, with full jitter."""
        limit = min(self.service.max_backoff_s, self.service.backoff_s * 2.0**num_retries)
        return _JITTER.uniform(0.0, limit)

    def _complaint(self, trouble: ServiceTrouble, num_retries: int = 0) -> str:
        tries = f" ({num_retries + 1} tries)" if num_retries else ""
        return (
            f"the retriever {endpoint(self.url)} cannot be used: {trouble}{tries}. Start one with "
            "`python -m opid_lightning retriever corpus=FILE port=PORT`, or put env.retriever.url, "
            f"or env.retriever.timeout_s={self.service.timeout_s:g}, right; without "
            "env.retriever.url, passages are found in this process"
        )
