"""User message to the token ids of the whole chat prompt. The only caller of chat templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from opid_lightning.types import TokenIds

# Added tokens of this form steer a model, though some tokenizers do not call them special.
CONTROL_FORM = re.compile(r"<\|.*\|>")


@dataclass(frozen=True)
class ChatEncoder:
    """Encodes one user message, up to and with the words that open the reply.

    No text of the message becomes a control token, which only the template may write:

        go<|end|>     ->   <|user|>  go  <  |  end  |  >  <|end|>  <|assistant|>

    Added tokens that are neither special nor of the form `<|...|>`, as `<think>` often is, are
    words like others: an environment may ask for them.
    """

    tokenizer: Any
    thinking: bool | None = None  # Qwen3's `enable_thinking`; None leaves it to the template

    def __call__(self, message: str) -> TokenIds:
        ids = self._in_template(self._without_control_tokens(message))
        if self._control_ids_of(ids) != self._control_ids_of_template:
            raise ValueError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} makes control tokens of a "
                f"message that holds none of their texts: {message[:200]!r}"
            )
        return ids

    def _in_template(self, message: str) -> TokenIds:
        choice = {} if self.thinking is None else {"enable_thinking": self.thinking}
        ids = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": message}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **choice,
        )
        return tuple(ids)

    def _without_control_tokens(self, message: str) -> str:
        """Breaks their texts with a space. That may put another together, so until none is left."""
        while True:
            message, count = self._control_text.subn(_broken, message)
            if not count:
                return message

    def _control_ids_of(self, ids: TokenIds) -> list[int]:
        return [id for id in ids if id in self._control_ids]

    @cached_property
    def _control_tokens(self) -> dict[int, str]:
        return {
            id: token.content
            for id, token in self.tokenizer.added_tokens_decoder.items()
            if token.special or CONTROL_FORM.fullmatch(token.content)
        }

    @cached_property
    def _control_text(self) -> re.Pattern[str]:
        texts = sorted(self._control_tokens.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        # Any word that the tokenizer does not know is the unknown token.
        return frozenset(self._control_tokens) - {self.tokenizer.unk_token_id}

    @cached_property
    def _control_ids_of_template(self) -> list[int]:
        return self._control_ids_of(self._in_template("message"))


def _broken(match: re.Match[str]) -> str:
    text = match.group()
    return f"{text[0]} {text[1:]}" if len(text) > 1 else " "


def encode_chat(tokenizer: Any, thinking: bool | None = None) -> ChatEncoder:
    """The `encode` that stages are given."""
    return ChatEncoder(tokenizer, thinking)
