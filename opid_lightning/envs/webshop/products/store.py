"""Products on disk: one at a time is read, those read lately are kept."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

from opid_lightning.envs.webshop.products.product import Product

_NUM_KEPT = 20_000  # products of a process, some 3 KB each
_BATCH = 1_000  # products of a transaction's write


def write_products(path: Path, products: Iterable[Product]) -> Iterator[Product]:
    """Writes each product and passes it on."""
    with closing(sqlite3.connect(path)) as table:
        # Nothing is lost by a crash: an unfinished store is thrown away as a whole.
        table.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        table.execute(
            "CREATE TABLE products (place INTEGER PRIMARY KEY, id TEXT UNIQUE, record BLOB)"
        )
        rows = "INSERT INTO products VALUES (?, ?, ?)"
        for place, product in enumerate(products):
            record = zlib.compress(product.to_json().encode(), level=1)
            table.execute(rows, (place, product.id, record))
            if place % _BATCH == 0:
                table.commit()
            yield product
        table.commit()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises ValueError where a file of a kept catalogue is damaged or gone."""
    try:
        yield
    except (sqlite3.Error, zlib.error, OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove the folder {path.parent}, and the catalogue is "
            "made again"
        ) from error


class ProductStore:
    """Open for reading, from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with reading(path):
            self._table = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        self.get = lru_cache(_NUM_KEPT)(self._read)

    def __len__(self) -> int:
        with reading(self._path), self._lock:
            count = self._table.execute("SELECT COUNT(*) FROM products").fetchone()
        return int(count[0])

    def __iter__(self) -> Iterator[Product]:
        """In the order they were written."""
        for place in range(len(self)):
            with reading(self._path):
                with self._lock:
                    row = self._table.execute(
                        "SELECT record FROM products WHERE place = ?", (place,)
                    ).fetchone()
                product = Product.from_json(zlib.decompress(row[0]))
            yield product

    def _read(self, product_id: str) -> Product:
        with reading(self._path), self._lock:
            row = self._table.execute(
                "SELECT record FROM products WHERE id = ?", (product_id,)
            ).fetchone()
        if row is None:
            raise ValueError(f"there is no product {product_id!r} in this catalogue")
        with reading(self._path):
            return Product.from_json(zlib.decompress(row[0]))
