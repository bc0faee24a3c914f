"""A retriever service that answers as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[int, dict[str, Any]], tuple[int, bytes]]  # of the nth request


def hits(queries: list[str], topk: int = 1) -> dict[str, Any]:
    """A passage for each query, which repeats it."""
    return {
        "result": [
            [{"document": {"id": "0", "contents": f'"{query}"\nFound.'}, "score": 1.0}] * topk
            for query in queries
        ]
    }


def sensible(number: int, request: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps(hits(request["queries"])).encode()


@dataclass
class Asked:
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def queries(self) -> list[list[str]]:
        return [request["queries"] for request in self.requests]


@contextmanager
def serving(answer: Answer = sensible) -> Iterator[Asked]:
    asked, changing = Asked(), threading.Lock()

    class Words(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with changing:
                asked.requests.append(request)
                number = len(asked.requests)
            status, body = answer(number, request)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                """The client has gone already."""

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Words)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
