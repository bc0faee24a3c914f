"""A catalogue made up of some 300 words: many products that nearly meet a wish, few that do.

words ─► products
"""

from opid_lightning.envs.webshop.generation.products import generate, generation_plan

__all__ = ["generate", "generation_plan"]
