"""Sessions in processes of their own, so that one which crashes or hangs costs its attempt alone.

trainer ── WorkerEnvironment ── WorkerSession ─ request ─► worker: environment.open()
                 │                                           ▲
                 └── ForkServerProcess ─ fork, end ─► fork server ────┘
"""

from opid_lightning.envs.workers.environment import WorkerEnvironment
from opid_lightning.envs.workers.settings import Workers

__all__ = ["WorkerEnvironment", "Workers"]
