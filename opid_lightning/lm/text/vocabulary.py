"""Which of a tokenizer's tokens steer a model, and which are words of what it reads and says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from opid_lightning.types import TokenIds

# Added tokens of this form steer a model, though some tokenizers do not call them special.
CONTROL_FORM = re.compile(r"<\|.*\|>")
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TAGS = re.compile(r"(?:</?[\w-]+>)+")
_CLOSED = re.compile(r"</([\w-]+)>")
_NAME = re.compile(r"</?([\w-]+)>")
_OPENED = re.compile(r"<[A-Za-z][\w-]*>\s*$")


@dataclass(frozen=True)
class Vocabulary:
    """The added tokens of a tokenizer, by what they are for.

    <|end|>, <s>                 control tokens, which only the template may write
    <think>, </think>            tags, which environments and policies write: words like others,
                                 also where somebody made them special tokens
    <think> without </think>     a control token where it is special
    """

    tokenizer: Any

    @cached_property
    def control(self) -> dict[int, str]:
        """Control tokens, with their texts."""
        return {
            id: token.content
            for id, token in self._added.items()
            if (token.special and id not in self._special_tags)
            or CONTROL_FORM.fullmatch(token.content)
        }

    def text(self, ids: Sequence[int]) -> str:
        """Words and tags, without other special tokens."""
        if not self._special_tags:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return str(self.tokenizer.decode([id for id in ids if id not in self._silent]))

    def opened(self, prompt_ids: TokenIds) -> str:
        """The tag that a template opens for the reply, which itself only closes it.

        <|assistant|><think>                   ->  "<think>"
        <|assistant|><think></think>           ->  ""
        """
        words: list[int] = []
        for id in reversed(prompt_ids):
            if id in self.control or len(words) == 16:
                break
            words.insert(0, id)
        found = _OPENED.search(self.text(words))
        return found.group() if found else ""

    @cached_property
    def named(self) -> frozenset[str]:
        """The texts of tokens that have a part of their own, such as the end of a sequence."""
        return frozenset(filter(None, (getattr(self.tokenizer, name, None) for name in NAMED)))

    @cached_property
    def _added(self) -> dict[int, Any]:
        return dict(self.tokenizer.added_tokens_decoder)

    @cached_property
    def _special_tags(self) -> frozenset[int]:
        special = {
            id: token.content
            for id, token in self._added.items()
            if token.special and token.content not in self.named and _TAGS.fullmatch(token.content)
        }
        closed = {name for text in special.values() for name in _CLOSED.findall(text)}
        return frozenset(id for id, text in special.items() if closed >= {*_NAME.findall(text)})

    @cached_property
    def _silent(self) -> frozenset[int]:
        special = {id for id, token in self._added.items() if token.special}
        return frozenset(special - self._special_tags)
