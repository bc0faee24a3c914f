"""A shop on disk: products, the search index, and which products have goals.

    products ─► products.sqlite, index/, goals.json

made once in a folder of its own, and whole or not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import get_args

from opid_lightning.envs.webshop.goals import GoalKind, num_goals
from opid_lightning.envs.webshop.products.product import Product
from opid_lightning.envs.webshop.products.progress import counted
from opid_lightning.envs.webshop.products.splits import GoalSource, GoalTasks, split_sizes
from opid_lightning.envs.webshop.products.store import ProductStore, reading, write_products
from opid_lightning.files.atomic import folder_made_once
from opid_lightning.files.json_reading import read_json
from opid_lightning.protocols import Split
from opid_lightning.retrieval import VERSION as INDEX_VERSION
from opid_lightning.retrieval import Document, build_index, open_or_build

VERSION = 3  # of the files: another version of these or of the index is built beside
MAX_HITS = 50  # of a search, as in the original

_GOAL_KINDS: tuple[GoalKind, ...] = get_args(GoalKind)
_NUM_QUERIES = 8_192  # whose hits are kept: attempts at one task ask alike


@dataclass(frozen=True)
class Plan:
    """How a catalogue comes about, and what tells it from others."""

    name: str
    stamp: str
    products: Callable[[Path], Iterable[Product]]  # given a folder for what is needed meanwhile

    def folder(self, root: Path) -> Path:
        """Where the catalogue is kept; another version or source goes elsewhere."""
        made_of = f"{VERSION} {INDEX_VERSION} {self.stamp}"
        mark = hashlib.blake2b(made_of.encode(), digest_size=6).hexdigest()
        return root / f"{self.name}-v{VERSION}-{mark}"


def build(plan: Plan, root: Path) -> Path:
    """The folder that holds the catalogue; it is made if this is the first time."""
    folder = plan.folder(root)
    if not folder.is_dir():
        with folder_made_once(folder) as draft:
            _write(plan, draft, folder.name)
    return folder


def _write(plan: Plan, draft: Path, stamp: str) -> None:
    sources: list[tuple[str, str, list[tuple[int, int, int]]]] = []

    def documents() -> Iterator[Document]:
        products = write_products(draft / "products.sqlite", plan.products(draft))
        for product in counted(products, f"products of {plan.name}"):
            counts = [num_goals(product, kind) for kind in _GOAL_KINDS]
            if any(counts):
                sizes = [split_sizes(product.id, count) for count in counts]
                sources.append((product.id, product.category, sizes))
            yield _document(product)

    build_index(documents(), draft / "index", stamp)
    (draft / "goals.json").write_text(json.dumps(sources), encoding="utf-8")


def _document(product: Product) -> Document:
    return Document(product.id, product.indexed_text)


class Catalogue:
    """An open shop; one serves all sessions of a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.products = ProductStore(folder / "products.sqlite")
        self._index = open_or_build(
            lambda: map(_document, self.products), folder / "index", stamp=folder.name
        )
        self.search = lru_cache(_NUM_QUERIES)(self._search)
        self.sources = cache(self._read_sources)
        self.tasks = cache(self._list_tasks)

    def _search(self, query: str) -> tuple[str, ...]:
        """The ids of at most MAX_HITS products, best first."""
        return tuple(hit.id for hit in self._index.search(query, MAX_HITS))

    def _read_sources(self, kind: GoalKind) -> list[GoalSource]:
        """The products that have goals of this kind, in the catalogue's order."""
        column = _GOAL_KINDS.index(kind)
        file = self.folder / "goals.json"
        with reading(file):
            return [
                GoalSource(name, category, tuple(sizes[column]))
                for name, category, sizes in read_json(file.read_text(encoding="utf-8"))
                if any(sizes[column])
            ]

    def _list_tasks(self, split: Split, kind: GoalKind) -> GoalTasks:
        return GoalTasks.of(split, self.sources(kind))
