"""A retriever service over HTTP: what Search-R1's answers to, in threads of this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from opid_lightning.envs.search.passages import Passage
from opid_lightning.envs.surrogates import without_surrogates
from opid_lightning.files.json_reading import read_json

MAX_BODY = 8_000_000  # bytes of a request
MAX_QUERY = 10_000  # characters
MAX_QUERIES = 1024  # of a request
MAX_TOPK = 1000
IDLE_S = 120.0  # after which a connection is closed
STOP_S = 5.0  # that requests under way have when the service ends

# Queries and topk to passages with scores, best first; called from many threads.
Search = Callable[[Sequence[str], int], Sequence[Sequence[tuple[Passage, float]]]]


class BadRequestError(Exception):
    """A request that is answered with an HTTP status of 400 or above."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Asked:
    """A request to /retrieve as read."""

    queries: tuple[str, ...]
    topk: int
    return_scores: bool

    @classmethod
    def read(cls, body: bytes, topk: int) -> Asked:
        """Raises BadRequestError. `topk` is for requests that leave it out."""
        try:
            values = without_surrogates(read_json(body))
        except ValueError as error:
            raise BadRequestError(f"the body is no JSON: {error}") from error
        if not isinstance(values, dict):
            raise BadRequestError(
                'the body is no object; expected {"queries": [text, ...]} or {"query": text}'
            )
        wanted = values.get("topk")
        topk = topk if wanted is None else wanted
        if type(topk) is not int or not 1 <= topk <= MAX_TOPK:
            raise BadRequestError(f"topk is {topk!r:.50}, expected 1 to {MAX_TOPK}")
        return cls(_queries(values), topk, bool(values.get("return_scores", False)))


def _queries(values: Mapping[str, Any]) -> tuple[str, ...]:
    queries = values.get("queries")
    if queries is None and "query" in values:  # as OPID's authors ask
        queries = [values["query"]]
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise BadRequestError(f"queries is {queries!r:.50}, expected a list of texts")
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise BadRequestError(f"{len(queries)} queries, expected 1 to {MAX_QUERIES}")
    if (longest := max(map(len, queries))) > MAX_QUERY:
        raise BadRequestError(
            f"a query has {longest} characters, expected at most {MAX_QUERY}", 413
        )
    return tuple(queries)


class RetrieverService:
    """Listens from `start` to `stop`; GET /health says what it serves."""

    def __init__(
        self,
        search: Search,
        num_passages: int,
        host: str = "127.0.0.1",
        port: int = 0,
        topk: int = 3,
    ) -> None:
        self.search = search
        self.num_passages = num_passages
        self.topk = topk
        self._num_active = 0
        self._changing = threading.Condition()
        try:
            self._http = _Server((host, port), _Exchange)
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"nothing can listen at host={host} port={port}: {error}. Give another port=PORT, "
                "or port=0 for any that is free"
            ) from error
        self._http.service = self

    @property
    def url(self) -> str:
        """The address that it listens at, with the port that it was given."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """In a thread of its own."""
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Once started. What is under way is answered first."""
        self._http.shutdown()
        self._http.server_close()
        deadline = time.monotonic() + STOP_S
        with self._changing:
            while self._num_active and (left_s := deadline - time.monotonic()) > 0:
                self._changing.wait(left_s)

    def answer(self, body: bytes) -> Mapping[str, Any]:
        """The body of an answer to /retrieve; raises BadRequestError."""
        asked = Asked.read(body, self.topk)
        found = self.search(asked.queries, asked.topk)
        return {"result": [[_hit(*hit, asked.return_scores) for hit in hits] for hits in found]}

    def count(self, change: int) -> None:
        """Changes the number of requests at work, on which `stop` waits."""
        with self._changing:
            self._num_active += change
            self._changing.notify_all()


def _hit(passage: Passage, score: float, with_score: bool) -> Mapping[str, Any]:
    document = {"id": passage.id, "contents": passage.contents}
    return {"document": document, "score": score} if with_score else document


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a connection that is kept open does not keep the process
    request_queue_size = 1024  # clients that knock at the same time
    service: RetrieverService


class _Exchange(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"  # connections are kept
    wbufsize = -1  # one packet for head and body: two would wait for each other's receipt
    timeout = IDLE_S

    @property
    def service(self) -> RetrieverService:
        return cast(_Server, self.server).service

    def do_GET(self) -> None:
        if self.path == "/health":
            self._say(200, {"status": "ok", "passages": self.service.num_passages})
        else:
            self._say(404, {"error": f"no {self.path}; there are POST /retrieve and GET /health"})

    def do_POST(self) -> None:
        self.service.count(+1)
        try:
            self._say(200, self.service.answer(self._body()))
        except BadRequestError as refusal:
            self._say(refusal.status, {"error": str(refusal)})
        except Exception as error:
            self._say(500, {"error": f"{type(error).__name__}: {error}"})
            raise  # its traceback is printed
        finally:
            self.service.count(-1)

    def _body(self) -> bytes:
        """Raises BadRequestError, and closes the connection where a body stays unread."""
        self.close_connection, keep = True, self.close_connection
        if self.path.rstrip("/") != "/retrieve":
            raise BadRequestError(f"no {self.path}; there are POST /retrieve and GET /health", 404)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise BadRequestError("the request does not say its Content-Length", 411)
        if int(length) > MAX_BODY:
            raise BadRequestError(f"{length} bytes, expected at most {MAX_BODY}", 413)
        body = self.rfile.read(int(length))
        self.close_connection = keep
        return body

    def _say(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing: thousands of queries would."""
