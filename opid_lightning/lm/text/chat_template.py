"""A tokenizer's chat template: conversations to texts, the same ones whenever it is asked."""

from __future__ import annotations

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
