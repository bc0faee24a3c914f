"""Chat prompts, written out."""

from __future__ import annotations

import pytest

from opid_lightning.lm.chat import encode_chat
from opid_lightning.lm.policy import PolicySource, load_policy


def test_prompt_is_the_message_with_the_words_that_open_the_reply() -> None:
    tokenizer = load_policy(PolicySource("small")).tokenizer
    ids = encode_chat(tokenizer)("go to fridge 1")
    assert tokenizer.decode(ids) == "<|user|>go to fridge 1<|end|><|assistant|>"


def test_keydoor_prompt_is_one_id_a_word() -> None:
    tokenizer = load_policy(PolicySource("keydoor")).tokenizer
    ids = encode_chat(tokenizer)("The key is left.\n\nThen?")
    assert tokenizer.convert_ids_to_tokens(ids) == ["the", "key", "is", "left", "then", "<agent>"]


@pytest.mark.parametrize(("thinking", "said"), [(None, "unset"), (True, "yes"), (False, "no")])
def test_thinking_reaches_the_template_only_where_it_is_set(
    thinking: bool | None, said: str
) -> None:
    tokenizer = load_policy(PolicySource("small")).tokenizer
    tokenizer.chat_template = (
        "{{ 'unset' if enable_thinking is not defined else 'yes' if enable_thinking else 'no' }}"
    )
    assert tokenizer.decode(encode_chat(tokenizer, thinking)("hello")) == said
