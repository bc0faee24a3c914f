"""User messages to the token ids of whole chat prompts, by the tokenizer's chat template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.types import TokenIds

# For templates that write today's: a run, and another that resumes it, must not depend on the day.
TODAY = datetime(2025, 1, 1)
_FAULTS = (TemplateError, TypeError, ValueError, KeyError, AttributeError)
_REPLY = "certainly"


@dataclass(frozen=True)
class ChatTemplate:
    """Renders conversations; raises ValueError where the template refuses one."""

    tokenizer: Any
    thinking: bool | None = None  # Qwen3's `enable_thinking`; None leaves it to the template

    def prompt(self, message: str) -> str:
        """A user message, up to and with the words that open the reply."""
        return self._render([("user", message)], opens_reply=True)

    def prompt_ids(self, message: str) -> TokenIds:
        """The ids of the whole prompt for one user message, the reply opened."""
        return self._ids(self.prompt(message))

    @cached_property
    def end_of_turn(self) -> str:
        """What the template writes behind a reply."""
        return self._around_reply[1]

    @property
    def lacks_opening(self) -> bool:
        """Whether replies begin with more than prompts end with."""
        before, prompt = self._around_reply[0], self.prompt("message")
        return before.startswith(prompt) and bool(before.removeprefix(prompt).strip())

    @cached_property
    def _around_reply(self) -> tuple[str, str]:
        """A conversation up to its reply, and behind it; blank where the template takes none."""
        try:
            whole = self._render([("user", "message"), ("assistant", _REPLY)], opens_reply=False)
        except ValueError:
            return "", ""
        before, found, after = whole.rpartition(_REPLY)
        return (before, after) if found else ("", "")

    @cached_property
    def end_id(self) -> int | None:
        """The token that ends a reply, if it is one: the first control token behind it."""
        control = Vocabulary(self.tokenizer).control
        return next((id for id in self._ids(self.end_of_turn) if id in control), None)

    @property
    def writes_the_date(self) -> bool:
        """Whether prompts would depend on the day."""
        return "strftime_now" in str(self.tokenizer.chat_template)

    def _ids(self, text: str) -> TokenIds:
        # Not verbose: a prompt that is longer than the model takes will be fitted.
        encoded = self.tokenizer(text, add_special_tokens=False, verbose=False)
        return tuple(encoded.input_ids)

    def _render(self, conversation: Sequence[tuple[str, str]], opens_reply: bool) -> str:
        choice = {} if self.thinking is None else {"enable_thinking": self.thinking}
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in conversation],
                add_generation_prompt=opens_reply,
                tokenize=False,
                strftime_now=TODAY.strftime,
                **choice,
            )
        except _FAULTS as error:
            raise ValueError(
                f"the chat template of {self.tokenizer.name_or_path!r} fails on a conversation of "
                f"{', '.join(role for role, _ in conversation)}: {error}. It is given texts, and "
                "no system message: correct chat_template.jinja in its files"
            ) from error
        return rendered


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
