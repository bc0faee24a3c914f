"""Requests to several servers at once; what a lost server had not answered is asked again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.sampling.requests import check_positions, said
from opid_lightning.sampling.vllm.settings import one_version, unsaid
from opid_lightning.sampling.vllm_server.client import GENERATE
from opid_lightning.sampling.vllm_server.fleet import Fleet, Server
from opid_lightning.sampling.vllm_server.sync import Weights
from opid_lightning.sampling.vllm_server.traffic import Address, Answer, Traffic
from opid_lightning.servers.health import ServerGone
from opid_lightning.types import Completion, Policy, SampleRequest


@dataclass
class OverHTTP:
    """Each request goes at once to the server that has the fewest to answer."""

    fleet: Fleet
    weights: Weights
    policy: Policy
    stop_ids: tuple[int, ...]
    traffic: Traffic
    proof: Mapping[str, float]  # of the sync
    restarts_before: int
    num_heard: int = 0
    num_asked: int = 0  # outstanding requests, summed over what was heard

    def __post_init__(self) -> None:
        self.vocabulary = Vocabulary(self.policy.tokenizer)
        self.logit_bias = unsaid(self.policy)

    @property
    def weight_version(self) -> int:
        """The version that all servers were proved to have."""
        return self.weights.version

    @property
    def metrics(self) -> Mapping[str, float]:
        """The proof of the weights, the mean batch size, and restarts since the start."""
        return {
            **self.proof,
            "batch_mean": self.num_asked / max(self.num_heard, 1),
            "restarts": float(self.fleet.num_restarts - self.restarts_before),
        }

    def submit(self, request: SampleRequest) -> None:
        """Asks the server with the fewest open requests. Raises RequestTooLongError."""
        check_positions(request, self.fleet.max_positions, "the server")
        self._ask(min(self.fleet.servers, key=lambda server: len(server.asked)), request)

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        """Finished responses of all servers; what a lost server owed is asked again."""
        assert self._num_outstanding, "nothing was submitted, so there is nothing to wait for"
        end = time.monotonic() + patience_s
        completions: list[Completion] = []
        while not completions and (left_s := end - time.monotonic()) >= 0:
            # What was answered before a server was lost need not be asked again.
            for answer in sorted(self.traffic.wait(left_s), key=_is_bad):
                completions += self._hear(answer)
        return completions

    def _hear(self, answer: Answer) -> list[Completion]:
        (server,) = (s for s in self.fleet.servers if s.client.url == answer.address.url)
        if answer.address.restart_count != server.restart_count:
            return []  # asked again since
        self.num_heard += 1
        self.num_asked += self._num_outstanding
        try:
            choice = _choice(server, answer)
        except ServerGone as loss:
            self._recover(server, loss)
            return []
        self.fleet.answered()
        return [self._completion(server.asked.pop(answer.address.request_id), choice)]

    def _recover(self, server: Server, loss: ServerGone) -> None:
        self.fleet.revive(server, loss)
        self.fleet.sync_one(self.weights, server)
        for request in list(server.asked.values()):
            self._ask(server, request)

    def _ask(self, server: Server, request: SampleRequest) -> None:
        server.asked[request.id] = request
        settings: dict[str, Any] = {
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
            "stop_token_ids": list(self.stop_ids),
            "logprobs": 0,  # of the sampled token alone
            "stop": list(request.stop),
            "include_stop_str_in_output": True,  # or it would take tokens back
            "detokenize": bool(request.stop),
            "skip_special_tokens": False,  # among which a text that ends a response may be
        }
        if self.logit_bias:
            settings["logit_bias"] = self.logit_bias
        if request.schema:
            settings["structured_outputs"] = {"json": request.schema}
        body = {"token_ids": list(request.prompt_ids), "sampling_params": settings}
        self.traffic.send(Address(request.id, server.client.url, server.restart_count), body)

    def _completion(self, request: SampleRequest, choice: Mapping[str, Any]) -> Completion:
        ids = tuple(choice["token_ids"])
        pairs = zip(choice["logprobs"]["content"], ids, strict=True)
        assert all(found["token_id"] == token for found, token in pairs)
        return Completion(
            request_id=request.id,
            token_ids=ids,
            logprobs=tuple(found["logprob"] for found in choice["logprobs"]["content"]),
            text=said(self.vocabulary, request, ids),
            is_cut=choice["finish_reason"] == "length",
            weight_version=one_version(span["version"] for span in choice["weight_versions"]),
        )

    @property
    def _num_outstanding(self) -> int:
        return sum(len(server.asked) for server in self.fleet.servers)

    def close(self) -> None:
        """Drops what is still asked; the servers stay."""
        self.traffic.close()
        for server in self.fleet.servers:
            server.asked.clear()


def _is_bad(answer: Answer) -> bool:
    return not (isinstance(answer.content, httpx.Response) and answer.content.is_success)


def _choice(server: Server, answer: Answer) -> Mapping[str, Any]:
    """What the server sampled. Raises ServerGone where it was lost, or gave the request up."""
    content = answer.content
    if not isinstance(content, httpx.Response | httpx.TransportError):
        raise content
    (choice,) = server.client.read(GENERATE, content)["choices"]
    if choice["finish_reason"] == "abort":
        raise ServerGone("it gave up a request, as it does when it ends or is paused by another")
    return dict(choice)
