"""JSON that users bring: how deep it may nest, and files that are read member by member."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest

from opid_lightning.files.json_reading import (
    MAX_DEPTH,
    TOO_DEEP,
    BadMemberError,
    TooDeepError,
    is_too_deep,
    list_items,
    object_pairs,
    read_json,
)

DEEP = "[" * 100_000 + "]" * 100_000


def items(text: str) -> list[Any]:
    return list(list_items(io.BytesIO(text.encode())))


def pairs(text: str) -> list[tuple[str, Any]]:
    return list(object_pairs(io.BytesIO(text.encode())))


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a": ', "}")])
def test_the_limit_is_exact(opened: str, closed: str) -> None:
    fits = opened * (MAX_DEPTH - 1) + "[1]" + closed * (MAX_DEPTH - 1)
    assert read_json(fits) == json.loads(fits)
    for depth in (MAX_DEPTH, 500, 100_000):
        with pytest.raises(TooDeepError, match="nested more than 64 levels deep"):
            read_json(opened * depth + "[1]" + closed * depth)


def test_texts_and_numbers_are_not_deep() -> None:
    assert not is_too_deep("[" * 1000) and not is_too_deep(7) and not is_too_deep(None)


def test_a_deep_member_is_marked_and_the_next_one_read() -> None:
    tricky = '{"a": "]}", "b\\"": [' + DEEP + '], "c": "\\\\"}'
    assert items(f"[1, {DEEP}, {tricky}, 4]") == [1, TOO_DEEP, TOO_DEEP, 4]
    assert pairs(f'{{"x": {DEEP}, "y": {tricky}, "z": 3}}') == [
        ("x", TOO_DEEP), ("y", TOO_DEEP), ("z", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [123456, -1.5e3, 1e-30, True, None, 'é\n"]', [1, [2]], {"a": {}}])
def test_members_that_are_cut_by_what_is_held_are_whole(value: Any) -> None:
    """At each place of the value; 2**20 characters are read at a time."""
    text = json.dumps(value)
    for shift in range(len(text) + 2):
        filler = "x" * (2**20 - shift - 5)
        found = items(f'["{filler}",{text},7]')
        assert found == [filler, value, 7]


def test_an_empty_file_of_each_kind_is_read() -> None:
    assert items(" [ ] ") == [] and pairs("\ufeff{ }\n") == []


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 1), ("[1, 2", 3), ('[1, "a', 2), ("[1, tru, 3]", 2), ("[1] 2", 2), ("[1, [2}, 3]", 2)],
)
def test_what_is_no_json_is_named_by_its_place(text: str, number: int) -> None:
    with pytest.raises(BadMemberError) as refused:
        items(text)
    assert refused.value.number == number


@pytest.mark.parametrize("text", ['{"a" 1}', '{"a": }', "{1: 2}", '{"a": 1', "{" + DEEP + ": 1}"])
def test_an_object_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadMemberError):
        pairs(text)


@pytest.mark.parametrize("inner", [DEEP * 3, '"' + "x" * 600_000 + '", tru'])
def test_no_more_is_held_than_a_member_needs(inner: str) -> None:
    """Brackets are skipped in pieces, and a malformed member does not read the rest of the file."""
    text = f"[[{inner}], {'[1], ' * 2_000_000} 3]".encode()
    file = io.BytesIO(text)
    tracemalloc.start()
    try:
        for _ in list_items(file):
            break
    except BadMemberError:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20 < len(text)
