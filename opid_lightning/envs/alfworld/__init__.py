"""ALFWorld: household tasks in text, on the real PDDL engine."""

from opid_lightning.envs.alfworld.environment import ALFWorld

__all__ = ["ALFWorld"]
