"""Games built from the floor plans that the alfworld package ships, furnished as is usual.

statistics, kinds ─► floor_plans ─► goals ─► furnishing ─► problem | walkthrough ─► writing
"""

from opid_lightning.envs.alfworld.generation.writing import games_folder, generated_games

__all__ = ["games_folder", "generated_games"]
