"""Who finds passages: an index in this process, or a service that speaks as Search-R1's does.

POST /retrieve {"queries": [text, ...], "topk": n, "return_scores": true}
  -> {"result": [[{"document": {"id", "contents"}, "score"}, ...], ...]}
"""

from opid_lightning.envs.search.retriever.client import RetrieverClient, Service
from opid_lightning.envs.search.retriever.local import BM25, Retriever

__all__ = ["BM25", "Retriever", "RetrieverClient", "Service"]
