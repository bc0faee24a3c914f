"""WebShop: a store in text, its goals and its reward.

files | generation ─► products ─► catalogue (store, index) ─► goals ─► session (pages) ─► reward
"""

from opid_lightning.envs.webshop.environment import WebShop

__all__ = ["WebShop"]
