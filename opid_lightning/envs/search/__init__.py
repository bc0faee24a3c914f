"""Search-based question answering: multi-hop questions over a corpus of passages."""

from opid_lightning.envs.search.environment import SearchQA

__all__ = ["SearchQA"]
