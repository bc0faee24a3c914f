"""The original files, read one item at a time: the full catalogue has 1.18 million, 5 GB."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from opid_lightning.envs.surrogates import clean_members
from opid_lightning.envs.webshop.products.product import (
    MAX_ID_LENGTH,
    MalformedItemError,
    Product,
    product_from,
)
from opid_lightning.files.json_reading import TOO_DEEP, BadMemberError, list_items, object_pairs
from opid_lightning.files.omissions import Omissions

PRODUCTS, ATTRIBUTES, HUMAN = "items_shuffle*.json", "items_ins_v2*.json", "items_human_ins*.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OriginalFiles:
    """Where the products are, what is known of them, and what people asked for, if anything."""

    products: Path
    attributes: Path
    human: Path | None

    @property
    def stamp(self) -> str:
        """Another after one of the files has changed."""
        paths = [path for path in (self.products, self.attributes, self.human) if path]
        return repr([(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths])

    def read(self, draft: Path) -> Iterator[Product]:
        """In the file's order, each id once. `draft` is a folder for a table meanwhile.

        What no product can be made of is left out, counted and reported at the end.
        """
        left_out, seen = Omissions(), set[str]()
        with closing(_Notes(draft / "notes.sqlite")) as notes:
            notes.fill(_pairs(self.attributes), "about")
            notes.fill(_pairs(self.human) if self.human else iter(()), "wishes")
            for number, item in _items(self.products):
                if reason := _reason_to_drop(item, seen):
                    left_out.add(reason, f"item {number}")
                    continue
                try:
                    product = product_from(item, *notes.of(item["asin"]))
                except MalformedItemError as error:
                    left_out.add("malformed", error)
                    continue
                seen.add(product.id.lower())
                yield product
        if not seen:
            raise ValueError(f"{self.products} holds no products: {left_out}. See docs/webshop.md")
        left_out.report(_log, f"{len(seen):,} products of {self.products}")


def _reason_to_drop(item: Any, seen: set[str]) -> str:
    """Of two ids that differ in case alone, clicks would find the first."""
    if item is TOO_DEEP:
        return str(TOO_DEEP)
    asin = item.get("asin") if isinstance(item, dict) else None
    if not isinstance(asin, str) or asin == "nan" or len(asin) > MAX_ID_LENGTH:
        return f"without an asin of at most {MAX_ID_LENGTH} characters"
    return "with the asin of an earlier one" if asin.lower() in seen else ""


def find_files(
    data: str | None,
    products: str | None = None,
    attributes: str | None = None,
    human: str | None = None,
) -> OriginalFiles:
    """In a folder, where of several files the one with the most bytes counts; or by paths."""
    folder = Path(data).expanduser() if data else None
    if folder is not None and not folder.is_dir():
        raise ValueError(f"env.data is {data!r}, which is no folder: expected one with {PRODUCTS}")
    wishes = _found(folder, HUMAN, human)
    return OriginalFiles(
        _needed(_found(folder, PRODUCTS, products), folder, PRODUCTS, "products"),
        _needed(_found(folder, ATTRIBUTES, attributes), folder, ATTRIBUTES, "attributes"),
        wishes,
    )


def _found(folder: Path | None, pattern: str, given: str | None) -> Path | None:
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise ValueError(f"there is no file {path}: expected the original's {pattern}")
        return path
    paths = sorted(folder.glob(pattern), key=lambda p: (p.stat().st_size, p)) if folder else []
    return paths[-1] if paths else None


def _needed(path: Path | None, folder: Path | None, pattern: str, name: str) -> Path:
    if path is None:
        raise ValueError(
            f"there is no {pattern} in {folder}: name the file with env.{name}_file=PATH, or leave "
            "env.data unset to shop in a generated catalogue"
        )
    return path


def _items(path: Path) -> Iterator[tuple[int, Any]]:
    """With the number of each."""
    with path.open("rb") as file, _named(path, "item"):
        _check_begin(file, path, b"[", "a list of items")
        yield from clean_members(enumerate(list_items(file), start=1), path, "item")


def _pairs(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file, _named(path, "entry"):
        _check_begin(file, path, b"{", "an object by asin")
        pairs = enumerate(map(list, object_pairs(file)), start=1)
        yield from (tuple(pair) for _, pair in clean_members(pairs, path, "entry"))


@contextmanager
def _named(path: Path, member: str) -> Iterator[None]:
    try:
        yield
    except BadMemberError as error:
        raise ValueError(
            f"{path} is not whole JSON ({member} {error.number}: {error}): get the file anew"
        ) from error


def _check_begin(file: BinaryIO, path: Path, sign: bytes, expected: str) -> None:
    """What is well-formed but of another kind would read as empty."""
    begin = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    file.seek(0)
    if begin != sign:
        raise ValueError(f"{path} begins with {begin!r}, expected {expected}, as JSON")


class _Notes:
    """What the smaller files say, by asin, on disk: the full ones would take gigabytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._table = sqlite3.connect(path)
        for name in ("about", "wishes"):
            self._table.execute(f"CREATE TABLE {name} (asin TEXT PRIMARY KEY, value TEXT)")

    def fill(self, pairs: Iterator[tuple[str, Any]], name: str) -> None:
        rows = ((asin, json.dumps(value)) for asin, value in pairs)
        self._table.executemany(f"INSERT OR REPLACE INTO {name} VALUES (?, ?)", rows)

    def of(self, asin: str) -> tuple[Any, Any]:
        about, wishes = self._get("about", asin), self._get("wishes", asin)
        if not isinstance(about, dict | None):
            raise MalformedItemError(f"of item {asin!r} is known {about!r}, expected an object")
        if not isinstance(wishes, list | None):
            raise MalformedItemError(f"the wishes for item {asin!r} are no list")
        return about, wishes or []

    def _get(self, name: str, asin: str) -> Any:
        row = self._table.execute(f"SELECT value FROM {name} WHERE asin = ?", (asin,)).fetchone()
        return json.loads(row[0]) if row else None

    def close(self) -> None:
        self._table.close()
        self._path.unlink()
