"""An invented world: its facts, the passages that state them, and questions about them.

names ─► facts ─┬► passages ─┬► files
                └► questions ┘
"""

from opid_lightning.envs.search.world.files import World, corpus_of, questions_of

__all__ = ["World", "corpus_of", "questions_of"]
