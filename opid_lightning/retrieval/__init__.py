"""Full-text search over documents in an index on disk: BM25, by tantivy.

documents ─build_index─► folder ─Index.open─► Index ─search─► Hits, best first
"""

from opid_lightning.retrieval.index import (
    VERSION,
    Document,
    Hit,
    Index,
    build_index,
    is_built,
    open_or_build,
)

__all__ = ["VERSION", "Document", "Hit", "Index", "build_index", "is_built", "open_or_build"]
