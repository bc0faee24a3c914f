"""One request to a retriever service, and what may come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from opid_lightning.envs.search.files.fields import field
from opid_lightning.envs.search.passages import Passage, contents_of
from opid_lightning.envs.surrogates import without_surrogates
from opid_lightning.files.json_reading import read_json

PATH = "/retrieve"
_REPEATABLE = (408, 425, 429, 500, 502, 503, 504)
_EXPECTED = 'expected {"result": [[{"document": {"id", "contents"}, "score"}, ...], ...]}'


class ServiceTrouble(Exception):  # noqa: N818
    """Why a request brought no passages."""

    def __init__(self, reason: str, may_pass: bool, status: int | None = None) -> None:
        super().__init__(reason)
        self.may_pass = may_pass  # so that it is worth asking again
        self.status = status  # of the answer, where there was one and it was not 200


def endpoint(url: str) -> str:
    """The address that takes queries, given with `/retrieve` or without."""
    url = url.rstrip("/")
    return url if url.endswith(PATH) else url + PATH


def retrieve(
    http: httpx.Client, url: str, queries: Sequence[str], topk: int
) -> list[tuple[Passage, ...]]:
    """The passages of each query, as Search-R1 asks for them; raises ServiceTrouble."""
    request = {"queries": list(queries), "topk": topk, "return_scores": True}
    return read_answer(_posted(http, url, request), len(queries), topk)


def retrieve_one(http: httpx.Client, url: str, query: str, topk: int) -> tuple[Passage, ...]:
    """The passages of a query, as OPID's authors ask for them; raises ServiceTrouble."""
    request = {"query": query, "topk": topk, "return_scores": True}
    return read_answer(_posted(http, url, request), 1, topk)[0]


def _posted(http: httpx.Client, url: str, request: Mapping[str, Any]) -> httpx.Response:
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
            status=response.status_code,
        )
    return response


def read_answer(response: httpx.Response, num_queries: int, topk: int) -> list[tuple[Passage, ...]]:
    """The passages of each query, at most `topk`; raises where the answer has another form."""
    try:
        answer = without_surrogates(read_json(response.content))
    except ValueError as error:
        raise _nonsense(f"no JSON ({error}): {response.text[:100]!r}") from error
    found = answer.get("result") if isinstance(answer, dict) else None
    if isinstance(found, list) and found and num_queries == 1 and isinstance(found[0], dict):
        found = [found]  # of the one query, not in a list of its own
    if not isinstance(found, list) or not all(isinstance(hits, list) for hits in found):
        raise _nonsense(f"{answer!r:.100}")
    if len(found) != num_queries:
        raise _nonsense(f"the results of {len(found)} queries to {num_queries}")
    # Search-R1's online servers do not look at topk.
    return [tuple(map(_passage, hits[:topk])) for hits in found]


def _passage(hit: Any) -> Passage:
    """With a score beside the document, or without, when the service leaves scores out."""
    document = hit.get("document", hit) if isinstance(hit, dict) else None
    contents = contents_of(document)
    if contents is None and not isinstance(field(document, "contents"), str):
        raise _nonsense(f"a hit without contents: {hit!r:.100}")
    name = field(document, "id")
    return Passage("" if name is None else str(name), contents or "")


def _nonsense(what: str) -> ServiceTrouble:
    # A proxy in between may say such things while the service restarts.
    return ServiceTrouble(f"it answers with {what}; {_EXPECTED}", may_pass=True)
