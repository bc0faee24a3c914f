"""The index on disk: ranking by hand, ties, queries that mean harm, builds that are stopped."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opid_lightning.retrieval import (
    VERSION,
    Document,
    Index,
    build_index,
    is_built,
    open_or_build,
)
from opid_lightning.retrieval.terms import spaced, terms_of

SHOPS = [
    Document("bread", "Rye bread, sliced"),
    Document("shoes", "Women's running shoes in red"),
    Document("boots", "red boots for men who run"),
    Document("rye", "rye"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("index") / "shop"
    build_index(SHOPS, folder, keep_texts=True)
    return Index.open(folder)


def ids(index: Index, query: str, k: int = 10) -> list[str]:
    return [hit.id for hit in index.search(query, k)]


def test_scores_are_those_of_bm25(shop: Index) -> None:
    # Terms of each document, without stop words: 3, 4, 5 (who stays), 1.
    k1, b, mean_length = 1.2, 0.75, (3 + 4 + 5 + 1) / 4
    rarity = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))  # two of four documents hold "rye"

    def score(length: int) -> float:
        return rarity * (k1 + 1) / (1 + k1 * (1 - b + b * length / mean_length))

    hits = shop.search("rye", 10)
    assert [hit.id for hit in hits] == ["rye", "bread"]
    assert [hit.score for hit in hits] == pytest.approx([score(1), score(3)], rel=1e-5)


def test_words_meet_in_any_form_and_case(shop: Index) -> None:
    assert ids(shop, "RUNS") == ["shoes", "boots"]
    assert ids(shop, "woman women") == ["shoes"]
    assert ids(shop, "the in for") == []


def test_a_word_said_twice_counts_twice(shop: Index) -> None:
    once, twice = shop.search("rye", 1)[0].score, shop.search("rye rye", 1)[0].score
    assert twice == pytest.approx(2 * once)


def test_texts_are_there_where_they_are_kept(shop: Index, tmp_path: Path) -> None:
    assert shop.search("boots", 1)[0].text == SHOPS[2].text
    build_index(SHOPS, tmp_path / "lean")
    assert Index.open(tmp_path / "lean").search("boots", 1)[0].text == ""


def test_equally_good_ones_come_in_the_order_they_were_given(tmp_path: Path) -> None:
    numbers = [(7 * i) % 500 for i in range(500)]
    build_index((Document(str(n), "red mug") for n in numbers), tmp_path / "mugs")
    index = Index.open(tmp_path / "mugs")
    assert ids(index, "mug red", 3) == ["0", "7", "14"]
    assert ids(index, "red", 500) == [str(n) for n in numbers]


@pytest.mark.parametrize(
    "query",
    [
        '"red',
        "red AND (",
        "id:shoes",
        "red~2 OR *:*",
        "[red TO",
        "\\",
        "\0",
        "rye" * 10,
        "日本語",
        "",
    ],
)
def test_what_looks_like_an_operator_is_text(shop: Index, query: str) -> None:
    found = ids(shop, query)
    assert set(found) <= {"shoes", "boots"}
    assert ("red" in query.lower()) == bool(found) or query == "id:shoes"


@settings(max_examples=50)
@given(query=st.text(), k=st.integers(-2, 6))
def test_any_text_is_a_query(shop: Index, query: str, k: int) -> None:
    hits = shop.search(query, k)
    assert len(hits) <= max(k, 0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_query_of_a_megabyte_is_answered_and_cut_aloud(
    shop: Index, caplog: pytest.LogCaptureFixture
) -> None:
    query = "rye " + " ".join(f"word{i}" for i in range(110_000))
    assert len(query) > 1_000_000
    assert ids(shop, query) == ["rye", "bread"]
    assert "has 110001 terms: the first 1024" in caplog.text


def test_threads_find_what_one_finds(shop: Index) -> None:
    queries = ["rye", "red", "run", "women bread"] * 50
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda q: ids(shop, q), queries)) == [ids(shop, q) for q in queries]


def test_a_build_that_is_stopped_leaves_what_was_there(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield SHOPS[0]
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        build_index(broken(), tmp_path / "new")
    assert not is_built(tmp_path / "new") and not list(tmp_path.iterdir())
    build_index(SHOPS, tmp_path / "old")
    with pytest.raises(OSError, match="went away"):
        build_index(broken(), tmp_path / "old")
    assert len(Index.open(tmp_path / "old")) == 4


def test_it_is_built_again_for_other_documents_alone(tmp_path: Path) -> None:
    asked = []

    def documents() -> list[Document]:
        asked.append(1)
        return SHOPS[: len(asked)]

    sizes = [len(open_or_build(documents, tmp_path / "i", stamp)) for stamp in "aab"]
    assert sizes == [1, 1, 2] and Index.open(tmp_path / "i").stamp == "b"


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no index of version .* is not there. Build it anew"):
        Index.open(tmp_path)


def test_no_documents_make_an_index_that_finds_nothing(tmp_path: Path) -> None:
    build_index([], tmp_path / "empty")
    assert Index.open(tmp_path / "empty").search("red", 5) == ()


CJK = [
    Document("mill", "旧水車小屋はエイダ・ブルックの絵画である。"),
    Document("ada", "艾达·布鲁克于1821年出生于奥尔德山。"),
    Document("seoul", "서울은 대한민국의 수도이다."),
    Document("bangkok", "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย"),
    Document("phone", "\uff21\uff22\uff23社の iPhone用ｹｰｽ"),
    Document("hindi", "दिल्ली भारत की राजधानी है।"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("index") / "world"
    build_index(CJK, folder, keep_texts=True)
    return Index.open(folder)


@pytest.mark.parametrize(
    ("query", "first"),
    [
        *(("水車小屋", "mill"), ("エイダは誰", "mill"), ("布鲁克在哪里出生", "ada")),
        *(("대한민국 수도", "seoul"), ("เมืองหลวง", "bangkok"), ("iphone", "phone")),
        *(("abc", "phone"), ("ケース", "phone"), ("दिल्ली", "hindi"), ("1821", "ada")),
    ],
)
def test_scripts_without_blanks_are_found_by_parts_of_a_sentence(
    world: Index, query: str, first: str
) -> None:
    assert ids(world, query)[0] == first
    (text,) = [document.text for document in CJK if document.id == first]
    assert world.search(query, 1)[0].text == text  # as it was given


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("日本語", ["日本", "本語"]),
        ("日", ["日"]),
        ("iPhoneの日本", ["iphon", "の日", "日本"]),
        ("한국어 책", ["한국", "국어", "책"]),
        ("カタカナー", ["カタ", "タカ", "カナ", "ナー"]),
        ("ｶﾞｽ \uff21\uff22\uff11", ["ガス", "ab1"]),
        ("ที่นี่", ["ที่นี่"]),
        ("हिन्दी", ["हिन्दी"]),
        ("cafe\u0301s", ["cafe\u0301"]),
        ("𠮷野家", ["𠮷野", "野家"]),
    ],
)
def test_terms_are_words_or_pairs_of_characters(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


@given(text=st.text())
def test_what_no_unspaced_script_is_in_stays_as_it_is(text: str) -> None:
    plain = text.encode("ascii", "ignore").decode()
    assert spaced(plain) == plain


def test_an_index_of_another_version_is_built_again(tmp_path: Path) -> None:
    open_or_build(lambda: SHOPS[:1], tmp_path / "i", "a")
    card = tmp_path / "i" / "index.json"
    card.write_text(card.read_text().replace(f'"version": {VERSION}', '"version": 1'))
    assert not is_built(tmp_path / "i", "a")
    assert len(open_or_build(lambda: SHOPS[:2], tmp_path / "i", "a")) == 2


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "deleted": Path.unlink,
    "a bit at its start": lambda path: flip(path, 0),
    "a bit in its middle": lambda path: flip(path, path.stat().st_size // 2),
    "a bit at its end": lambda path: flip(path, path.stat().st_size - 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_of_an_index_may_be_damaged(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, and built again by who has the documents; what is found is the same."""
    build_index(SHOPS, tmp_path / "whole", "a", keep_texts=True)
    expected = Index.open(tmp_path / "whole").search("red boots", 3)
    for name in sorted(file.name for file in (tmp_path / "whole").glob("[!.]*")):
        shutil.copytree(tmp_path / "whole", folder := tmp_path / f"{name} {damage}")
        DAMAGES[damage](folder / name)
        with pytest.raises(ValueError, match=rf"the index in {folder} is damaged .*remove the fo"):
            Index.open(folder)
        caplog.clear()
        index = open_or_build(lambda: SHOPS, folder, "a", keep_texts=True)
        assert index.search("red boots", 3) == expected
        assert f"The index in {folder} is damaged (" in caplog.text and "built again" in caplog.text
        caplog.clear()
        open_or_build(lambda: SHOPS, folder, "a", keep_texts=True)
        assert not caplog.records


def test_files_that_nobody_may_read_are_named(tmp_path: Path) -> None:
    """A folder in a file's place, as every file may be read by root."""
    build_index(SHOPS, tmp_path / "i")
    for name in ("index.json", "meta.json"):
        (tmp_path / "i" / name).unlink()
        (tmp_path / "i" / name).mkdir()
        with pytest.raises(ValueError, match=r"/i cannot be read: .*Correct the permissions"):
            open_or_build(lambda: SHOPS, tmp_path / "i")
        shutil.rmtree(tmp_path / "i")
        build_index(SHOPS, tmp_path / "i")


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"no index can be written to .*file/i: .*env.cache=FOLD"):
        open_or_build(lambda: SHOPS, tmp_path / "file" / "i")


def test_an_index_of_other_documents_is_not_taken(tmp_path: Path) -> None:
    build_index([Document("x", "green hat")], tmp_path / "other", "another corpus")
    shutil.copytree(tmp_path / "other", tmp_path / "i")
    assert len(open_or_build(lambda: SHOPS, tmp_path / "i", "a")) == len(SHOPS)


def test_a_damaged_index_is_named_with_what_to_do(tmp_path: Path) -> None:
    build_index(SHOPS, tmp_path / "i")
    (tmp_path / "i" / "meta.json").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"/i is damaged .*remove the folder"):
        Index.open(tmp_path / "i")
