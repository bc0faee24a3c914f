"""User message to the token ids of the whole chat prompt. The only caller of chat templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opid_lightning.types import TokenIds


@dataclass(frozen=True)
class ChatEncoder:
    """Encodes one user message, up to and with the words that open the reply."""

    tokenizer: Any
    thinking: bool | None = None  # Qwen3's `enable_thinking`; None leaves it to the template

    def __call__(self, message: str) -> TokenIds:
        choice = {} if self.thinking is None else {"enable_thinking": self.thinking}
        ids = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": message}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **choice,
        )
        return tuple(ids)


def encode_chat(tokenizer: Any, thinking: bool | None = None) -> ChatEncoder:
    """The `encode` that stages are given."""
    return ChatEncoder(tokenizer, thinking)
