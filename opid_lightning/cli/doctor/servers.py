"""The vLLM servers that others have started, for a sampler that joins them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opid_lightning.cli.doctor.findings import Finding, State

if TYPE_CHECKING:
    from opid_lightning.sampling.vllm_server.client import ServerClient

TIMEOUT_S = 10.0


def check_servers(urls: tuple[str, ...]) -> Iterator[Finding]:
    """Asks each server for its health and its version."""
    import httpx

    from opid_lightning.sampling.vllm_server.client import ServerClient
    from opid_lightning.servers.health import CONNECTIONS

    with httpx.Client(timeout=TIMEOUT_S, **CONNECTIONS) as http:
        for url in urls:
            yield check_server(ServerClient(url.rstrip("/"), http))


def check_server(client: ServerClient) -> Finding:
    """Whether it is well, and has the endpoints that a sync needs."""
    from opid_lightning.sampling.vllm_server.client import START_LINE

    status = client.health()
    if status != 200:
        found = "does not answer" if status is None else f"answers /health with {status}"
        return Finding("server", State.BROKEN, f"{client.url} {found}", START_LINE)
    try:
        client.check_abilities()
    except ValueError as error:  # It ends with the line that starts such a server.
        found = str(error).removesuffix(f" Start it with: {START_LINE}")
        return Finding("server", State.BROKEN, found, START_LINE)
    return Finding("server", State.OK, f"{client.url} is well, and can be given weights")
