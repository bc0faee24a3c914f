"""User message to the token ids of the whole chat prompt. The only caller of chat templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from opid_lightning.lm.text.chat_template import ChatTemplate
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.types import TokenIds


@dataclass(frozen=True)
class ChatEncoder:
    """Encodes one user message, up to and with the words that open the reply.

    No text of the message becomes a control token, which only the template may write:

        go<|end|>     ->   <|user|>  go  <  |  end  |  >  <|end|>  <|assistant|>

    Tags such as `<think>` are words like others: an environment may ask for them.
    """

    tokenizer: Any
    thinking: bool | None = None  # Qwen3's `enable_thinking`; None leaves it to the template

    def __call__(self, message: str) -> TokenIds:
        """Ids of the whole prompt; raises ValueError where the tokenizer adds control tokens."""
        ids = self.template.prompt_ids(self.without_control_tokens(message))
        if self._control_ids_of(ids) != self._control_ids_of_template:
            raise ValueError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} makes control tokens of a "
                f"message that holds none of their texts: {message[:200]!r}"
            )
        return ids

    def without_control_tokens(self, message: str) -> str:
        """Breaks their texts with a space. That may put another together, so until none is left."""
        while True:
            message, count = self._control_text.subn(_broken, message)
            if not count:
                return message

    def _control_ids_of(self, ids: TokenIds) -> list[int]:
        return [id for id in ids if id in self._control_ids]

    @cached_property
    def template(self) -> ChatTemplate:
        """The tokenizer's chat template, compiled on first use."""
        return ChatTemplate(self.tokenizer, self.thinking)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer's words and control tokens, read on first use."""
        return Vocabulary(self.tokenizer)

    @cached_property
    def _control_text(self) -> re.Pattern[str]:
        texts = sorted(self.vocabulary.control.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        # Any word that the tokenizer does not know is the unknown token.
        return frozenset(self.vocabulary.control) - {self.tokenizer.unk_token_id}

    @cached_property
    def _control_ids_of_template(self) -> list[int]:
        return self._control_ids_of(self.template.prompt_ids("message"))


def _broken(match: re.Match[str]) -> str:
    text = match.group()
    return f"{text[0]} {text[1:]}" if len(text) > 1 else " "


def encode_chat(tokenizer: Any, thinking: bool | None = None) -> ChatEncoder:
    """The `encode` that stages are given."""
    return ChatEncoder(tokenizer, thinking)
