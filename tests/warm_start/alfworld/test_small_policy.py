"""The policy that ships for ALFWorld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.lm import keydoor_policy
from opid_lightning.lm.policy import EMBEDDED, PolicySource, load_policy
from opid_lightning.warm_start.alfworld.tokenizer import alfworld_tokenizer

TOKENIZER: Any = load_policy(PolicySource("small")).tokenizer


@given(st.text())
def test_any_text_survives_encoding(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def pieces_of(text: str) -> list[str]:
    return [
        piece.replace("Ġ", "_") for piece in TOKENIZER.convert_ids_to_tokens(TOKENIZER.encode(text))
    ]


def test_words_of_the_game_and_tags_of_the_reply_are_single_tokens() -> None:
    reply = "<think>the mug 2: take</think><action>go to diningtable 4</action>"
    assert pieces_of(reply) == [
        *("<think>", "the", "_mug_2", ":", "_take"),
        *("</think><action>", "go_to", "_diningtable_4", "</action>"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "You arrive at mug 1.",
        "you see a pen 2, and a mug 1.",
        "<action>use mug 1</action>",
        "<think>the mug 1: find</think>",
        "> take mug 1 from desk 1",
        'Choose "move mug 1 to desk 1" now',
    ],
)
def test_a_name_with_its_number_is_the_same_token_wherever_it_stands(text: str) -> None:
    """Else a policy could not copy it."""
    assert "_mug_1" in pieces_of(text)


@pytest.mark.parametrize("name", ["mug 31", "cabinet 27"])
def test_a_number_without_a_token_is_spelt(name: str) -> None:
    kind, number = name.split()
    assert pieces_of(f" {name}") == [f"_{kind}", f"_{number}"]


def test_tags_are_kept_in_the_text_and_the_end_is_not() -> None:
    ids = TOKENIZER.encode("<action>look</action><|end|>")
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "<action>look</action>"


def test_it_fits_the_package_and_holds_an_alfworld_prompt() -> None:
    size = sum(path.stat().st_size for path in (EMBEDDED / "small").iterdir())
    assert size <= 8_000_000
    assert load_policy(PolicySource("small")).model.config.max_position_embeddings >= 4096  # type: ignore[union-attr]


def test_the_script_remakes_the_tokenizer_that_ships(tmp_path: Path) -> None:
    pytest.importorskip("alfworld")
    alfworld_tokenizer().save_pretrained(tmp_path)
    shipped = EMBEDDED / "small" / "tokenizer.json"
    assert (tmp_path / "tokenizer.json").read_bytes() == shipped.read_bytes()


def test_the_script_remakes_the_keydoor_policy_that_ships(tmp_path: Path) -> None:
    keydoor_policy.make(tmp_path)
    shipped = EMBEDDED / "keydoor" / "tokenizer.json"
    assert (tmp_path / "tokenizer.json").read_bytes() == shipped.read_bytes()
