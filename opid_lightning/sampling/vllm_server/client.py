"""What is said to one vLLM server over HTTP, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.sampling.vllm.worker import EXTENSION
from opid_lightning.servers.health import ServerGone, health
from opid_lightning.types import TokenIds

GENERATE = "/inference/v1/generate"
START_LINE = (
    "VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints.openai.api_server --model FOLDER "
    "--enable-scale-out --logprobs-mode processed_logprobs "
    f"--worker-extension-cls {EXTENSION}"
)


class ServerRefusedError(ValueError):
    """A server that lives did not do what it was asked."""

    def __init__(self, url: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{url} answered {path} with {status}: {text[:1000]}")
        self.status = status
        self.text = text


@dataclass(frozen=True)
class ServerClient:
    """One server, asked one thing after another."""

    url: str
    http: httpx.Client

    def health(self) -> int | None:
        """The HTTP status of /health; None where nothing answers."""
        return health(self.http, self.url)

    def get(self, path: str) -> Any:
        """The JSON of an answer; raises ServerLostError or ServerRefusedError."""
        return self._ask("GET", path, None)

    def post(self, path: str, content: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer; raises ServerLostError or ServerRefusedError."""
        return self._ask("POST", path, dict(content or {}))

    def _ask(self, method: str, path: str, content: Any) -> Any:
        try:
            return self.read(path, self.http.request(method, self.url + path, json=content))
        except httpx.TransportError as error:
            return self.read(path, error)

    def read(self, path: str, answer: httpx.Response | httpx.TransportError) -> Any:
        """What it says, in JSON. Raises ServerGone or ServerRefusedError."""
        if isinstance(answer, httpx.TransportError):
            raise ServerGone(f"{path}: {type(answer).__name__} {answer}".rstrip()) from answer
        if answer.is_success:
            return answer.json()
        if answer.is_server_error and self.health() != 200:
            raise ServerGone(f"{path}: {answer.status_code} {answer.text[:300]}")
        raise ServerRefusedError(self.url, path, answer.status_code, answer.text)

    def check_abilities(self) -> None:
        """Raises ValueError where it lacks an endpoint, with what to start it with."""
        switches = {GENERATE: "--enable-scale-out", "/collective_rpc": "VLLM_SERVER_DEV_MODE=1"}
        for path, switch in switches.items():
            try:
                self.post(path)  # without what it needs, so that it can but refuse
            except ServerRefusedError as refusal:
                if refusal.status in (403, 404, 405, 501):
                    raise ValueError(
                        f"{self.url} answers {path} with {refusal.status}: it was started without "
                        f"{switch}, or is no vLLM server of version 0.32 or newer. Start it with: "
                        f"{START_LINE}"
                    ) from refusal

    def max_positions(self) -> int | None:
        """`max_model_len` of the served model; None where the server does not say."""
        found: int | None = self.get("/v1/models")["data"][0].get("max_model_len")
        return found

    def logprobs(self, ids: TokenIds) -> tuple[Float[Tensor, " L"], str]:
        """Log-probs of all ids but the first, each after those before it; of which version."""
        settings = {"max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        answer = self.post(GENERATE, {"token_ids": list(ids), "sampling_params": settings})
        pairs = zip(answer["prompt_logprobs"][1:], ids[1:], strict=True)
        found = torch.tensor([logprobs[str(token)]["logprob"] for logprobs, token in pairs])
        (choice,) = answer["choices"]
        return found, str(choice["weight_versions"][0]["version"])
