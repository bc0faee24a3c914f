"""Responses from prompts that begin as earlier ones did: only what is new is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.lm.forward.padded_words import num_words
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.sampling.hf.gumbel import GumbelDraws
from opid_lightning.sampling.hf.key_values import KeyValueTable, Match, PrefixCache, num_layers
from opid_lightning.sampling.hf.whole_prompts import Drawn
from opid_lightning.sampling.requests import Decode, has_just_stopped
from opid_lightning.types import Policy, SampleRequest, TokenIds

FEW_TOKENS = 32  # up to which reading more or fewer at once makes no difference


@dataclass(frozen=True)
class _Prompt:
    """A prompt, and what is stored of it. At least its last token is new: it predicts."""

    token_ids: TokenIds
    match: Match

    @property
    def num_new(self) -> int:
        return len(self.token_ids) - min(self.match.num_shared, len(self.token_ids) - 1)


@dataclass
class _Responses:
    """What was drawn for each request so far."""

    requests: list[SampleRequest]
    decode: Decode
    drawn: list[Drawn] = field(init=False)
    rows: list[int] = field(init=False)  # the request of each row that still is computed

    def __post_init__(self) -> None:
        self.drawn = [([], []) for _ in self.requests]
        self.rows = list(range(len(self.requests)))

    def add(self, token_ids: list[int], logprobs: list[float]) -> None:
        for row, token_id, logprob in zip(self.rows, token_ids, logprobs, strict=True):
            self.drawn[row][0].append(token_id)
            self.drawn[row][1].append(logprob)

    def going(self, stop_ids: frozenset[int]) -> list[int]:
        """Rows whose response has not ended."""
        return [
            place
            for place, row in enumerate(self.rows)
            if len(self.drawn[row][0]) < self.requests[row].max_tokens
            and stop_ids.isdisjoint(self.drawn[row][0])
            and not has_just_stopped(self.drawn[row][0], self.requests[row].stop, self.decode)
        ]

    def select(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[place] for place in rows]


class SharedPrefixes:
    """Answers requests in one batch. Rows end at the same column, prompts at `width`.

    Keys and values hold for one set of weights, so this must not outlive it.
    """

    def __init__(self, policy: Policy, stop_ids: Sequence[int], max_tokens: int) -> None:
        self.model: Any = policy.model
        self.pad_id: int = policy.tokenizer.pad_token_id
        self.stop_ids = frozenset(stop_ids)
        self.decode = Vocabulary(policy.tokenizer).text
        self.num_layers = num_layers(policy.model)
        self.stored = PrefixCache(max_tokens)
        self.device = next(policy.model.parameters()).device

    @torch.no_grad()
    def __call__(self, requests: Sequence[SampleRequest]) -> list[Drawn]:
        """Ids and log-probs of each response, in the order of the requests."""
        distinct = dict.fromkeys(request.prompt_ids for request in requests)
        prompts = [_Prompt(ids, self.stored.longest_match(ids)) for ids in distinct]
        prompts.sort(key=lambda prompt: prompt.num_new)
        width = max(len(prompt.token_ids) for prompt in prompts)
        num_columns = width + max(request.max_tokens for request in requests)
        table = KeyValueTable(self.num_layers, len(prompts), num_columns)
        alike = _alike(prompts)
        logits = torch.cat([self._read(prompts[rows], rows, width, table) for rows in alike])
        self._store(prompts, width, table)
        table.open(slice(None), 0, width)
        rows = {prompt.token_ids: row for row, prompt in enumerate(prompts)}
        by_row = sorted(requests, key=lambda one: rows[one.prompt_ids])
        responses = _Responses(by_row, self.decode)
        if len(prompts) < len(requests):
            copied = [rows[request.prompt_ids] for request in responses.requests]
            table.select(copied)
            logits = logits[copied]
        self._respond(responses, width, table, logits)
        drawn = {id(one): ids for one, ids in zip(responses.requests, responses.drawn, strict=True)}
        return [drawn[id(request)] for request in requests]

    def _read(
        self, prompts: list[_Prompt], rows: slice, width: int, table: KeyValueTable
    ) -> Float[Tensor, "B V"]:
        """Logits behind prompts. All read as many tokens: the new ones, or a few before them."""
        num_read = max(prompt.num_new for prompt in prompts)
        longest = max(len(prompt.token_ids) for prompt in prompts)
        for row, prompt in enumerate(prompts, rows.start):
            if (num_stored := len(prompt.token_ids) - num_read) > 0:
                table.write(row, width - len(prompt.token_ids), num_stored, prompt.match.found)
        table.open(rows, first=width - longest, filled=width - num_read)
        lengths = self._tensor([len(prompt.token_ids) for prompt in prompts])[:, None]
        read = [prompt.token_ids[-num_read:] for prompt in prompts]
        return self._forward(
            self._tensor([[self.pad_id] * (num_read - len(ids)) + list(ids) for ids in read]),
            attention_mask=self._mask(lengths, longest, longest),
            position_ids=(lengths + self._tensor(range(-num_read, 0))).clamp(min=0),
            table=table,
        )

    def _store(self, prompts: list[_Prompt], width: int, table: KeyValueTable) -> None:
        for row, prompt in enumerate(prompts):
            columns = slice(width - len(prompt.token_ids), width)
            self.stored.store(prompt.token_ids, table.read(row, columns))

    def _respond(
        self,
        responses: _Responses,
        width: int,
        table: KeyValueTable,
        logits: Float[Tensor, "B V"],
    ) -> None:
        """Draws until all have ended; rows of those that have are dropped by halves."""
        requests = responses.requests
        draws = GumbelDraws(requests, self.device, num_words(self.model))
        lengths = self._tensor([len(request.prompt_ids) for request in requests])[:, None]
        stop = width + max(request.max_tokens for request in requests)
        mask = self._mask(lengths, width, stop)
        for column in range(width, stop):
            chosen, logprobs = draws(logits)
            responses.add(chosen.tolist(), logprobs.tolist())
            going = responses.going(self.stop_ids)
            if not going:
                break
            if len(going) <= len(responses.rows) // 2:
                for kept in (responses, draws, table):
                    kept.select(going)
                lengths, mask, chosen = lengths[going], mask[going], chosen[going]
            places = lengths + column - width
            logits = self._forward(chosen[:, None], mask[:, : column + 1], places, table)

    def _forward(
        self,
        input_ids: Int[Tensor, "B C"],
        attention_mask: Int[Tensor, "B S"],
        position_ids: Int[Tensor, "B C"],
        table: KeyValueTable,
    ) -> Float[Tensor, "B V"]:
        """Logits behind the last token."""
        return self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=table,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def _mask(self, lengths: Int[Tensor, "B 1"], width: int, stop: int) -> Int[Tensor, "B S"]:
        """1 from where rows begin that end at `width`."""
        return (self._tensor(range(stop)) >= width - lengths).long()

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(list(values), device=self.device)


def _alike(prompts: Sequence[_Prompt]) -> list[slice]:
    """Runs of prompts, sorted by what is new, that read at most twice what the first must."""
    starts = [0]
    for row, prompt in enumerate(prompts):
        if prompt.num_new > 2 * max(FEW_TOKENS, prompts[starts[-1]].num_new):
            starts.append(row)
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(prompts)], strict=True)]
