"""Waiting for a server until it is well, or is not going to be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from opid_lightning.servers.process import ServerProcess

# A connection for each request: one that is kept may be closed by the server, after an error or
# a pause, just when it is used again, which cannot be told from a server that dies. Proxies of
# the environment are left out: they are for the way out of a cluster, not for its nodes.
CONNECTIONS: Mapping[str, Any] = {
    "limits": httpx.Limits(max_connections=None, max_keepalive_connections=0),
    "trust_env": False,
}


class ServerGone(Exception):  # noqa: N818
    """A server does not answer, or says that its engine is dead."""


def health(http: httpx.Client, url: str) -> int | None:
    """The status it answers with, 200 where it is well; none where it does not answer."""
    try:
        return http.get(f"{url}/health", timeout=10).status_code
    except httpx.TransportError:
        return None


def wait_until_well(
    http: httpx.Client, url: str, process: ServerProcess | None, timeout_s: float
) -> None:
    """Raises ServerGone where its process, if it is ours, ends first, or where it takes longer."""
    deadline, pause = time.monotonic() + timeout_s, 0.1
    while (status := health(http, url)) != 200:
        if process is not None and not process.is_running:
            raise ServerGone("it ended before it answered")
        if status is not None and status < 500:
            raise ServerGone(f"it answers /health with {status}, so it is no vLLM server")
        if time.monotonic() > deadline:
            found = "no answer" if status is None else f"/health was {status}"
            raise ServerGone(f"{found} for {timeout_s:g} s")
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
