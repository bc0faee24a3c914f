"""One request to a retriever service, and what may come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from opid_lightning.envs.search.passages import Passage

PATH = "/retrieve"
_REPEATABLE = (408, 425, 429, 500, 502, 503, 504)
_EXPECTED = 'expected {"result": [[{"document": {"id", "contents"}, "score"}, ...], ...]}'


class ServiceTrouble(Exception):  # noqa: N818
    """Why a request brought no passages."""

    def __init__(self, reason: str, may_pass: bool) -> None:
        super().__init__(reason)
        self.may_pass = may_pass  # so that it is worth asking again


def endpoint(url: str) -> str:
    """The address that takes queries, given with `/retrieve` or without."""
    url = url.rstrip("/")
    return url if url.endswith(PATH) else url + PATH


def retrieve(
    http: httpx.Client, url: str, queries: Sequence[str], topk: int
) -> list[tuple[Passage, ...]]:
    """The passages of each query; raises ServiceTrouble."""
    request = {"queries": list(queries), "topk": topk, "return_scores": True}
    try:
        response = http.post(endpoint(url), json=request)
    except httpx.TimeoutException as error:
        raise ServiceTrouble("it did not answer in time", may_pass=True) from error
    except httpx.TransportError as error:
        raise ServiceTrouble(f"it cannot be reached: {error}", may_pass=True) from error
    except (httpx.InvalidURL, httpx.DecodingError) as error:
        raise ServiceTrouble(str(error), may_pass=False) from error
    if response.status_code != httpx.codes.OK:
        said = " ".join(response.text.split())[:200]
        raise ServiceTrouble(
            f"it answers with status {response.status_code}: {said}",
            may_pass=response.status_code in _REPEATABLE,
        )
    return read_answer(response, len(queries), topk)


def read_answer(response: httpx.Response, num_queries: int, topk: int) -> list[tuple[Passage, ...]]:
    try:
        answer = response.json()
    except ValueError as error:
        raise _nonsense(f"no JSON: {response.text[:100]!r}") from error
    found = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(hits, list) for hits in found):
        raise _nonsense(f"{answer!r:.100}")
    if len(found) != num_queries:
        raise _nonsense(f"the results of {len(found)} queries to {num_queries}")
    if (most := max(map(len, found), default=0)) > topk:
        raise _nonsense(f"{most} passages where topk is {topk}")
    return [tuple(map(_passage, hits)) for hits in found]


def _passage(hit: Any) -> Passage:
    """With a score beside the document, or without, when the service leaves scores out."""
    document = hit.get("document", hit) if isinstance(hit, dict) else None
    contents = document.get("contents") if isinstance(document, dict) else None
    if not isinstance(contents, str):
        raise _nonsense(f"a hit without contents: {hit!r:.100}")
    assert isinstance(document, dict)
    return Passage(str(document.get("id", "")), contents)


def _nonsense(what: str) -> ServiceTrouble:
    # A proxy in between may say such things while the service restarts.
    return ServiceTrouble(f"it answers with {what}; {_EXPECTED}", may_pass=True)
