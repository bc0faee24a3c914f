"""Games built from the floor plans that the alfworld package ships, furnished as is usual.

statistics, kinds ─► floor_plans ─► goals ─► furnishing ─► problem | walkthrough ─► writing
"""

from opid_lightning.envs.alfworld.generation.writing import generated_games

__all__ = ["generated_games"]
