"""Tokenizer, template and environment: what does not fit plays rightly, or is refused by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from opid_lightning.lm.policy import PolicySource, load_policy, stop_ids
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.lm.text.prompt_check import CheckedEncoder
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Policy, SampleRequest
from tests.lm.brought import copied, edit

ASKED = "Think inside <think> </think>, then act: <action> </action>. You see <br> a mug 1."
SEEN = (
    "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 1.\n\n"
    "Your turn. Your goal: put a mug in desk."
)
TURN = "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
OPEN = "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
TEMPLATE = "{% for message in messages %}" + TURN + "{% endfor %}" + OPEN


def small() -> Policy:
    return load_policy(PolicySource("small"))


def with_template(template: str) -> Policy:
    policy = small()
    policy.tokenizer.chat_template = template
    return policy


def brought(folder: Path, change: Callable[[Path], None]) -> Policy:
    change(copied(folder / "model"))
    return load_policy(PolicySource(str(folder / "model")))


def change_tokens(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    change(tokenizer)
    file.write_text(json.dumps(tokenizer))


def add(text: str, special: bool, id: int = 1772) -> Callable[[Path], None]:
    token = {"id": id, "content": text, "special": special, "normalized": False}
    token |= {"single_word": False, "lstrip": False, "rstrip": False}
    return lambda folder: change_tokens(folder, lambda t: t["added_tokens"].append(token))


# ------------------------------------------------------------------ words are what they were


def without_decoder(tokenizer: dict[str, Any]) -> None:
    tokenizer["decoder"] = None


def by_chance(tokenizer: dict[str, Any]) -> None:
    tokenizer["model"]["dropout"] = 0.5


def of_whole_words(tokenizer: dict[str, Any]) -> None:
    tokenizer["model"] = {
        "type": "WordPiece",
        "vocab": tokenizer["model"]["vocab"],
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            without_decoder,
            "reads what it encodes with \u0120 in it: .*no action would be understood",
        ),
        (by_chance, r"encodes one message in different ways.*dropout"),
        (of_whole_words, r"cannot encode 'You are in .*UNK"),
    ],
)
def test_a_tokenizer_that_changes_words_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    policy = brought(tmp_path, lambda folder: change_tokens(folder, change))
    with pytest.raises(ValueError, match=said):
        CheckedEncoder(policy)(SEEN)


@pytest.mark.parametrize("name", ["small", "small_search", "small_webshop", "keydoor"])
def test_the_tokenizers_that_ship_are_taken(name: str) -> None:
    CheckedEncoder(load_policy(PolicySource(name)))(SEEN)


# ------------------------------------------------------------------ the message is in the prompt


@pytest.mark.parametrize(
    "turn",
    [
        "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}",  # content parts
        "{{ 'hello' }}",
        "{{ message['content'] | upper }}",
        "{{ message['content'][:20] }}",
    ],
)
def test_a_template_that_does_not_show_the_message_is_refused(turn: str) -> None:
    template = "{% for message in messages %}<|user|>" + turn + "<|end|>{% endfor %}" + OPEN
    policy = with_template(template)
    with pytest.raises(ValueError, match="does not show the message"):
        CheckedEncoder(policy)(ASKED)


def test_a_template_may_strip_a_message_and_add_words_of_its_own() -> None:
    trimmed = "Be brief. " + TEMPLATE.replace("message['content']", "(message['content'] | trim)")
    policy = with_template(trimmed)
    assert CheckedEncoder(policy)(f" {ASKED}\n") == encode_chat(policy.tokenizer)(ASKED)


def test_a_template_that_refuses_a_system_message_plays() -> None:
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    policy = with_template(refusal + TEMPLATE)
    assert CheckedEncoder(policy)(ASKED) == encode_chat(small().tokenizer)(ASKED)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for message in messages %}", "fails on a conversation of user: Unexpected end"),
        ("{{ raise_exception('tools only') }}", "fails on a conversation of user: tools only"),
        ("{{ messages[0]['content'][0]['text']['x'] }}", "fails on a conversation of user"),
        ("{{ messages[0]['content'] + 1 }}", "fails on a conversation of user"),
    ],
)
def test_a_template_that_fails_is_refused_with_its_reason(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CheckedEncoder(with_template(template))(ASKED)


def test_a_template_that_opens_no_reply_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"opens no reply: its prompt ends with .*the end of a turn"
    ):
        CheckedEncoder(with_template(TEMPLATE.replace(OPEN, "")))(ASKED)


def test_a_template_whose_replies_follow_the_end_of_a_turn_plays() -> None:
    template = "{% for message in messages %}{{ message['content'] + '<|end|>' }}{% endfor %}"
    assert CheckedEncoder(with_template(template))("go")[-1] == 1


# ------------------------------------------------------------------ tags


def make_tags_special(folder: Path) -> None:
    def change(tokenizer: dict[str, Any]) -> None:
        for token in tokenizer["added_tokens"]:
            token["special"] = True

    change_tokens(folder, change)


def test_tags_that_are_special_tokens_survive_encoding_and_decoding(tmp_path: Path) -> None:
    policy = brought(tmp_path, make_tags_special)
    ids = CheckedEncoder(policy)(ASKED)
    assert ids == encode_chat(small().tokenizer)(ASKED)
    said = "<think>mug</think><action>go to mug 1</action>"
    response = policy.tokenizer.encode(said, add_special_tokens=False)
    assert Vocabulary(policy.tokenizer).text([*response, 1, 0]) == said  # without <|end|>, <|pad|>


def test_a_response_of_special_tags_is_read_as_it_is_of_others(tmp_path: Path) -> None:
    """And ends in them where it is to."""
    texts = []
    for policy in (small(), brought(tmp_path, make_tags_special)):
        prompt = encode_chat(policy.tokenizer)(SEEN)
        with HuggingFace().serving(policy) as generation:
            generation.submit(SampleRequest("r", prompt, 40, 0.0, 0, stop=("</action>",)))
            texts.append(generation.collect()[0].text)
    assert texts[0] == texts[1]
    assert texts[0].endswith("</action>")


def test_other_special_tokens_stay_control_tokens() -> None:
    tokenizer = small().tokenizer
    tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "<s>", "<|do|>", "<x></x>"]})
    control = Vocabulary(tokenizer).control.values()
    assert {"<s>", "<|do|>", "<|end|>"} <= set(control)
    assert "<x></x>" not in control


@pytest.mark.parametrize("closed", [False, True])
def test_a_tag_without_its_other_half_is_refused(closed: bool) -> None:
    policy = small()
    policy.tokenizer.add_tokens([AddedToken("<do>", special=True)], special_tokens=True)
    if closed:
        policy.tokenizer.add_tokens([AddedToken("</do>", special=True)], special_tokens=True)
        CheckedEncoder(policy)("Write <do> </do>.")
    else:
        with pytest.raises(ValueError, match=r"environment asks for <do>, which the tokenizer"):
            CheckedEncoder(policy)("Write <do> </do>.")


def test_a_tokenizer_that_loses_tags_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    keydoor = load_policy(PolicySource("keydoor"))
    CheckedEncoder(keydoor)("The key is left. Write <b>.")
    assert not caplog.text
    CheckedEncoder(keydoor)("The key is left. Write <action> </action>.")
    assert "environment asks for <action>, which the tokenizer of" in caplog.text
    assert "reads as '': no response can hold it" in caplog.text


def test_marks_in_what_is_seen_are_no_tags(caplog: pytest.LogCaptureFixture) -> None:
    policy = small()
    policy.tokenizer.add_special_tokens({"bos_token": "<s>"})
    CheckedEncoder(policy)("A page: <s>old</s> price <br> <img> new.")


# ------------------------------------------------------------------ ends and beginnings


def test_a_response_ends_with_the_turn_of_the_template_whatever_the_models_end(
    tmp_path: Path,
) -> None:
    def change(folder: Path) -> None:
        edit(folder / "tokenizer_config.json", eos_token="<|system|>")
        for name in ("config.json", "generation_config.json"):
            edit(folder / name, eos_token_id=2)

    policy = brought(tmp_path, change)
    assert stop_ids(policy) == (1, 2)
    with HuggingFace().serving(policy) as generation:
        prompt = encode_chat(policy.tokenizer)(SEEN)
        generation.submit(SampleRequest("r", prompt, 40, 0.0, 0))
        (completion,) = generation.collect()
    assert not completion.is_cut
    assert completion.token_ids[-1] == 1


def test_a_turn_that_ends_with_a_text_needs_it_among_those_that_end_a_response() -> None:
    policy = with_template(TEMPLATE.replace("<|end|>", "</turn>"))
    with pytest.raises(ValueError, match=r"ends a turn with </turn>.*rollout.stop=\[</turn>\]"):
        CheckedEncoder(policy)(ASKED)
    CheckedEncoder(policy, stop=("</turn>",))(ASKED)


def test_a_tag_that_the_template_opens_is_part_of_what_is_read(tmp_path: Path) -> None:
    opening = OPEN.replace("<|assistant|>", "<|assistant|><think>\\n")
    policy = with_template(TEMPLATE.replace(OPEN, opening))
    prompt = CheckedEncoder(policy)(SEEN)
    assert Vocabulary(policy.tokenizer).opened(prompt) == "<think>\n"
    with HuggingFace().serving(policy) as generation:
        generation.submit(SampleRequest("r", prompt, 24, 0.0, 0))
        (completion,) = generation.collect()
    of_ids = Vocabulary(policy.tokenizer).text(completion.token_ids)
    assert completion.text == f"<think>\n{of_ids}"


@pytest.mark.parametrize("tail", ["<think>\n\n</think>\n\n", "Sure: ", "<|user|>", "<think> so"])
def test_a_template_that_opens_no_tag_adds_nothing_to_what_is_read(tail: str) -> None:
    policy = with_template(TEMPLATE.replace("<|assistant|>", f"<|assistant|>{tail}"))
    prompt = encode_chat(policy.tokenizer)("Write <think>")
    assert Vocabulary(policy.tokenizer).opened(prompt) == ""
    assert Vocabulary(load_policy(PolicySource("keydoor")).tokenizer).opened((4, 2)) == ""


# ------------------------------------------------------------------ tokens without an embedding


def test_a_control_token_without_an_embedding_is_no_matter_until_it_is_used(tmp_path: Path) -> None:
    policy = brought(tmp_path, add("<image_soft_token>", special=True))
    ids = CheckedEncoder(policy)(f"{ASKED} <image_soft_token>")
    assert max(ids) < 1772


def test_padding_without_an_embedding_is_replaced(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        add("[PAD]", special=True)(folder)
        edit(folder / "tokenizer_config.json", pad_token="[PAD]")

    assert brought(tmp_path, change).tokenizer.pad_token_id == 1


def test_a_word_without_an_embedding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"only 1772: there is nothing for '<search>'.*resize"):
        brought(tmp_path, add("<search>", special=False))


def test_a_tag_without_an_embedding_is_refused(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        add("<search>", special=True)(folder)
        add("</search>", special=True, id=1773)(folder)

    with pytest.raises(ValueError, match="there is nothing for '<search>', '</search>'"):
        brought(tmp_path, change)


def test_a_template_that_writes_a_token_without_an_embedding_is_refused(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        add("<|turn|>", special=True)(folder)
        (folder / "chat_template.jinja").write_text("<|turn|>" + TEMPLATE)

    with pytest.raises(ValueError, match=r"there is nothing for '<\|turn\|>'"):
        brought(tmp_path, change)


# ------------------------------------------------------------------ dates


def test_a_template_that_writes_the_date_writes_one_date(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = with_template("{{ 'Today: ' + strftime_now('%d %b %Y') }}" + TEMPLATE)
    with caplog.at_level(logging.WARNING):
        ids = CheckedEncoder(policy)(ASKED)
    assert policy.tokenizer.decode(ids).startswith("Today: 01 Jan 2025<|user|>")
    assert "writes today's date. It is given 01 Jan 2025 on all days" in caplog.text
