"""A small real server that speaks the few words of vLLM's that a sampler needs, and misbehaves.

It has a model of its own, which takes the weights it is sent and answers the probe with them. What
it samples is a function of the seed alone, so that a test can foretell it.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.sampling.weights import as_json, manifest_of, trainer_logprobs
from opid_lightning.types import Policy

END = 3


def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


def sampled(seed: int) -> list[int]:
    return [4 + seed % 10, END]


@dataclass
class TinyServer:
    """Faults are words; each test reads best where it names them."""

    faults: set[str] = field(default_factory=set)
    deaths: int = 0  # requests that it will still hang up on
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    received: list[Path] = field(default_factory=list)
    version: str = "default"
    port: int = 0

    def __enter__(self) -> TinyServer:
        self.policy = load_policy(PolicySource("keydoor", random_init=True, init_seed=9))
        self.lock = threading.Lock()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        words = type("Words", (_Words,), {"tiny": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), words)
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.called.append(path)
        if path in self.faults:
            return 404, {"detail": "Not Found"}
        if path == "/collective_rpc":
            return self.receive(body)
        if path == "/inference/v1/generate":
            return self.generate(body)
        if path == "/update_weight_version" and "ignores versions" not in self.faults:
            self.version = body["new_version"]
        words: dict[str, Any] = {
            "/health": {},
            "/v1/models": {"data": [{"max_model_len": 128}]},
            "/reset_prefix_cache": {"success": "keeps its cache" not in self.faults},
        }
        return 200, words.get(path, {"status": "done"})

    def receive(self, body: dict[str, Any]) -> tuple[int, Any]:
        if "method" not in body:
            return 400, {"detail": "Missing 'method' in request body"}
        if "has no extension" in self.faults:
            return 500, {"error": "'CPUWorker' object has no attribute 'receive_file'"}
        self.received.append(Path(body["args"][0]))
        if "sees no file" in self.faults:
            return 500, {"error": f"No such file or directory: {self.received[-1]}"}
        weights = load_file(self.received[-1])
        if "loses its head" in self.faults:
            del weights["lm_head.weight"]
        if "takes nothing" not in self.faults:
            self.policy.model.load_state_dict(weights, strict=False)
        return 200, {"results": [as_json(manifest_of(weights.items()))]}

    def generate(self, body: dict[str, Any]) -> tuple[int, Any]:
        if "token_ids" not in body:
            return 400, {"detail": "Field required"}
        settings = body["sampling_params"]
        if "prompt_logprobs" in settings:
            if "dies of the probe" in self.faults:
                return 0, None
            return 200, self.probed(body["token_ids"])
        with self.lock:
            self.asked.append(body)
            self.deaths -= 1
            if self.deaths >= 0:
                return 0, None
        time.sleep(self.delay_s)
        if "refuses" in self.faults:
            return 400, {"error": "I would rather not"}
        ids = sampled(settings["seed"])
        content = [{"token_id": token, "logprob": -0.5, "rank": 1} for token in ids]
        spans = [{"version": self.version, "start": 0, "end": len(ids)}]
        if "changes its weights" in self.faults:
            spans = [{"version": v, "start": i, "end": i + 1} for i, v in enumerate("12")]
        choice = {
            "token_ids": ids,
            "finish_reason": "abort" if "gives up" in self.faults else "stop",
            "weight_versions": spans,
            "logprobs": {"content": content},
        }
        return 200, {"choices": [choice]}

    def probed(self, ids: list[int]) -> Any:
        with self.lock, torch.no_grad():
            found = trainer_logprobs(self.policy, tuple(ids)).tolist()
        logprobs = [{str(i): {"logprob": x}} for i, x in zip(ids[1:], found, strict=True)]
        spans = [{"version": self.version, "start": 0, "end": 1}]
        return {"prompt_logprobs": [None, *logprobs], "choices": [{"weight_versions": spans}]}


class _Words(BaseHTTPRequestHandler):
    tiny: TinyServer

    def do_GET(self) -> None:
        self._say(*self.tiny.answer(self.path, {}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._say(*self.tiny.answer(self.path, json.loads(body)))

    def _say(self, status: int, content: Any) -> None:
        if not status:
            return  # hangs up
        text = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except BrokenPipeError:
            pass  # whoever asked has gone

    def log_message(self, format: str, *args: Any) -> None:
        pass
