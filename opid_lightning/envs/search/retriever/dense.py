"""Dense retrieval: texts as the mean of a transformer's last hidden states, compared by cosine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.envs.search.passages import Passage
from opid_lightning.lm.loading.hub import only_cached


@dataclass(frozen=True)
class Encoder:
    """A model of the Hugging Face hub, or in a folder."""

    model: Any
    tokenizer: Any
    max_tokens: int = 256  # of a text, the rest is not looked at
    batch: int = 64
    query_prefix: str = ""  # E5 wants "query: " and "passage: "
    passage_prefix: str = ""

    @classmethod
    def load(cls, name: str, query_prefix: str = "", passage_prefix: str = "") -> Encoder:
        """Loads an encoder by folder or hub name, on the GPU where there is one.

        Raises ValueError.
        """
        from transformers import AutoModel, AutoTokenizer

        try:
            cached = not Path(name).is_dir() and only_cached(name)
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=cached)
            model = AutoModel.from_pretrained(name, dtype=torch.float32, local_files_only=cached)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"dense={name} is no model that transformers can load: {error}. Give a folder or "
                "the name of an encoder on the hub, such as intfloat/e5-base-v2"
            ) from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.eval().to(device)
        return cls(model, tokenizer, query_prefix=query_prefix, passage_prefix=passage_prefix)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Of length 1 each; what is padded does not count."""
        parts = []
        for start in range(0, len(texts), self.batch):
            inputs = self.tokenizer(
                list(texts[start : start + self.batch]),
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            ).to(self.model.device)
            states = self.model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            ).last_hidden_state
            parts.append(pooled(states, inputs["attention_mask"]))
        return torch.cat(parts)


def pooled(states: Float[Tensor, "N S D"], mask: Tensor) -> Float[Tensor, "N D"]:
    """The mean over what is not padding, scaled to length 1."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    means = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(means, dim=-1)


class Dense:
    """All passages in memory, each compared with every query."""

    def __init__(
        self,
        passages: Iterable[Passage],
        encoder: Encoder,
        watched: Callable[[Iterable[Passage]], Iterable[Passage]] = iter,
    ) -> None:
        self._encoder = encoder
        self._passages = list(passages)
        parts, step = [], encoder.batch
        waiting: list[Passage] = []
        for number, passage in enumerate(watched(self._passages), start=1):
            waiting.append(passage)
            if len(waiting) == step or number == len(self._passages):
                parts.append(encoder([encoder.passage_prefix + p.contents for p in waiting]))
                waiting = []
        self._vectors = torch.cat(parts)
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._passages)

    @torch.inference_mode()
    def scored(self, queries: Sequence[str], topk: int) -> list[list[tuple[Passage, float]]]:
        """One request at a time: threads that compute beside each other only get in the way."""
        with self._turn:
            return self._scored(queries, topk)

    def _scored(self, queries: Sequence[str], topk: int) -> list[list[tuple[Passage, float]]]:
        encoded = self._encoder([self._encoder.query_prefix + query for query in queries])
        scores, places = (encoded @ self._vectors.T).topk(min(topk, len(self)))
        return [
            [(self._passages[place], score) for place, score in zip(row, values, strict=True)]
            for row, values in zip(places.tolist(), scores.tolist(), strict=True)
        ]
