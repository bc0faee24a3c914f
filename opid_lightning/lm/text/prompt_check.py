"""Whether tokenizer, chat template and environment fit together: one check, before anything is
sampled, on the first prompt that a policy is given."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opid_lightning.files.omissions import warn_once
from opid_lightning.lm.policy import stop_ids
from opid_lightning.lm.text.chat import TODAY, ChatEncoder, ChatTemplate
from opid_lightning.types import Policy, TokenIds

_log = logging.getLogger(__name__)
TAUGHT_PROMPTS = "taught_prompts"  # in the config.json of a policy
PROMPT_SETTINGS = ("prompt_style", "history_length")  # of an environment: they shape its prompts
_CLOSED = re.compile(r"</([A-Za-z][\w-]*)>")
MARKS_OF_BLANKS = ("\u0120", "\u010a", "\u2581", "</w>", "##")  # of BPE, Unigram and WordPiece
_MARKUP = re.compile(r"\s*(<[^<>\s]+>)")


@dataclass
class CheckedEncoder:
    """Encodes messages, and checks the first of them."""

    policy: Policy
    thinking: bool | None = None  # as ChatEncoder takes it
    stop: tuple[str, ...] = ()  # texts that end a response
    environment: object = None  # whose messages these are
    encode: ChatEncoder = field(init=False)
    _is_checked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.encode = ChatEncoder(self.policy.tokenizer, self.thinking)

    def __call__(self, message: str) -> TokenIds:
        """Ids of the whole prompt.

        The first call raises ValueError where tokenizer or template do not fit.
        """
        if self._is_checked:
            return self.encode(message)
        try:
            ids = self.encode(message)
        except Exception as error:
            if type(error) is not Exception:  # tokenizers raises no other
                raise
            raise ValueError(
                f"the tokenizer of {_name(self.encode)} cannot encode {message[:40]!r} ...: "
                f"{error}. Put the tokenizer's files there that the model was saved with"
            ) from error
        self._check(message, ids)
        self._is_checked = True
        return ids

    def _check(self, message: str, ids: TokenIds) -> None:
        check_prompts_are_known(self.policy, self.environment)
        check_message_is_shown(self.encode, message)
        check_words_survive(self.encode, message)
        check_tags_survive(self.encode, message)
        check_reply_is_open(self.policy, self.encode.template, ids)
        check_turn_ends(self.encode, self.stop)
        if self.encode.template.writes_the_date:
            warn_once(
                _log,
                f"the chat template of {self.encode.tokenizer.name_or_path!r} writes today's date. "
                f"It is given {TODAY:%d %b %Y} on all days, so that prompts stay the same.",
            )


def prompts_of(environment: object) -> dict[str, Any]:
    """What a policy that learns on these prompts says of them in its config.json."""
    found = {name: getattr(environment, name, None) for name in PROMPT_SETTINGS}
    return {"environment": type(environment).__name__, **found}


def check_prompts_are_known(policy: Policy, environment: object) -> None:
    """Raises ValueError where the policy was taught other prompts of this environment.

    Most policies say nothing of prompts. One that was taught on another environment may play here:
    how well is for the run to show.
    """
    taught = getattr(policy.model.config, TAUGHT_PROMPTS, None)
    if taught is None or environment is None:
        return
    path, found = policy.tokenizer.name_or_path, prompts_of(environment)
    if not isinstance(taught, Mapping) or taught.keys() != found.keys():
        raise ValueError(
            f"{TAUGHT_PROMPTS} in the config.json of {path!r} is {taught!r}; expected a mapping of "
            f"{', '.join(found)}, or none"
        )
    other = [name for name in PROMPT_SETTINGS if taught[name] != found[name]]
    if taught["environment"] == found["environment"] and other:
        raise ValueError(
            f"{listed(found, other, ' is ')}, but the policy {path!r} reads only the prompts that "
            f"it was taught, of {listed(taught, other, '=')}: type "
            f"{listed(taught, other, '=', ' ')}, or choose another policy by model=NAME"
        )


def listed(prompts: Mapping[str, Any], names: Sequence[str], verb: str, comma: str = ", ") -> str:
    """The settings of `prompts` by the names that users type, for messages."""
    return comma.join(f"env.{name}{verb}{prompts[name]}" for name in names)


def check_message_is_shown(encode: ChatEncoder, message: str) -> None:
    """Raises ValueError where a prompt does not hold what the environment has to say."""
    shown = encode.template.prompt(encode.without_control_tokens(message))
    if encode.without_control_tokens(message).strip() not in shown:
        raise ValueError(
            f"the chat template of {_name(encode)} does not show the message: of "
            f"{message[:80]!r} ... it makes {shown[:160]!r}. It is given texts, not lists of "
            "content parts: have chat_template.jinja write message['content'] as it is"
        )


def check_words_survive(encode: ChatEncoder, message: str) -> None:
    """Raises ValueError where words are encoded by chance, or read back with marks in them.

    Letters that a tokenizer does not have, or capitals that it makes small, are its own matter.
    """

    def ids() -> list[int]:
        return list(encode.tokenizer(message, add_special_tokens=False).input_ids)

    if (first := ids()) != ids():
        raise ValueError(
            f"the tokenizer of {_name(encode)} encodes one message in different ways, so that no "
            "log-prob could be computed twice: remove the dropout from its tokenizer.json"
        )
    read = encode.vocabulary.text(first)
    marks = [mark for mark in MARKS_OF_BLANKS if mark in read and mark not in message]
    if marks:
        raise ValueError(
            f"the tokenizer of {_name(encode)} reads what it encodes with {marks[0]} in it: of "
            f"{message[:40]!r} it makes {read[:60]!r}, and no action would be understood. Put the "
            "decoder into its tokenizer.json with which it was saved"
        )


def check_tags_survive(encode: ChatEncoder, message: str) -> None:
    """Raises ValueError where a tag that an environment asks for is a control token.

    A tokenizer of few words may have none for it, as that of a policy for another environment:
    then a policy may still play, though it cannot say what it is asked to. It is said.
    """
    control = set(encode.vocabulary.control.values())
    for tag in sorted(tags_asked_for(message) - encode.vocabulary.named):
        if tag in control:
            raise ValueError(
                f"the environment asks for {tag}, which the tokenizer of {_name(encode)} has as a "
                "control token, so that no response could hold it: add both the opening and the "
                "closing tag to it, or neither"
            )
        ids = encode.tokenizer(tag, add_special_tokens=False).input_ids
        if tag not in (read := encode.vocabulary.text(ids)):
            warn_once(
                _log,
                f"the environment asks for {tag}, which the tokenizer of {_name(encode)} reads as "
                f"{read!r}: no response can hold it. Take a policy whose tokenizer has all words.",
            )


def tags_asked_for(message: str) -> set[str]:
    """Those that the message opens and closes; a lone `<br>` is part of what is seen."""
    names = set(_CLOSED.findall(message))
    return {tag for name in names for tag in (f"<{name}>", f"</{name}>") if f"<{name}>" in message}


def check_reply_is_open(policy: Policy, template: ChatTemplate, prompt_ids: TokenIds) -> None:
    """Raises ValueError where a prompt ends with a turn, and lacks what a reply begins with."""
    if prompt_ids[-1] in stop_ids(policy) and template.lacks_opening:
        raise ValueError(
            f"the chat template of {policy.tokenizer.name_or_path!r} opens no reply: its prompt "
            f"ends with {policy.tokenizer.decode(prompt_ids[-8:])!r}, the end of a turn. Have "
            "chat_template.jinja write how a reply begins where add_generation_prompt is true"
        )


def check_turn_ends(encode: ChatEncoder, stop: Sequence[str]) -> None:
    """Raises ValueError where a reply would end with a text that ends nothing."""
    end = encode.template.end_of_turn
    marked = _MARKUP.match(end)
    if encode.template.end_id is None and marked and not any(text in end for text in stop):
        raise ValueError(
            f"the chat template of {_name(encode)} ends a turn with {marked[1]}, which is no "
            "special token of the tokenizer, so that every response would run to its limit: add "
            f"rollout.stop=[{marked[1]}], or make it a special token of the model"
        )


def _name(encode: ChatEncoder) -> str:
    return repr(encode.tokenizer.name_or_path)
