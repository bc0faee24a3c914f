"""Text that is only text: nothing invisible in it, and nothing that a chat template would write."""

from __future__ import annotations

import re
import unicodedata

# Words that some model's template or tokenizer puts in angle brackets, and roles.
_TAGS = (
    *("s", "unk", "pad", "bos", "eos", "mask", "cls", "sep"),
    *("start_of_turn", "end_of_turn", "im_start", "im_end", "endoftext", "eot", "turn"),
    *("think", "thinking", "tools", "tool_call", "tool_calls", "tool_response", "tool_result"),
    *("system", "user", "assistant", "human", "model"),
)
_BRACKETED = (
    *("INST", "SYSTEM_PROMPT", "AVAILABLE_TOOLS", "TOOL_CALLS", "TOOL_RESULTS", "TOOL_CONTENT"),
    *("CLS", "SEP", "PAD", "MASK", "UNK", "BOS", "EOS", "IMG", "THINK"),
)
CHAT_MARKER = re.compile(
    r"<[|\uff5c][^<>]*[|\uff5c]>"  # <|im_end|>, and DeepSeek's with wide bars
    rf"|</?(?:{'|'.join(_TAGS)})>"
    rf"|\[/?(?:{'|'.join(_BRACKETED)})\]"
    r"|<</?SYS>>",
    re.IGNORECASE,
)
# Control, format (zero width, direction) and private characters.
_INVISIBLE = ("Cc", "Cf", "Co")


def plain_line(text: str) -> str:
    """One line, words one space apart."""
    return " ".join(_plain(text).split())


def plain_lines(text: str) -> str:
    """The same line by line; empty ones go."""
    lines = (" ".join(line.split()) for line in _plain(text).splitlines())
    return "\n".join(line for line in lines if line)


def _plain(text: str) -> str:
    """Half characters, which nothing can encode, become `?`."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    visible = "".join(
        character
        for character in whole
        if character.isspace() or unicodedata.category(character) not in _INVISIBLE
    )
    return without_markers(visible)


def without_markers(text: str) -> str:
    """Taking one out may put another together, so until none is left."""
    while True:
        text, count = CHAT_MARKER.subn(" ", text)
        if not count:
            return text
