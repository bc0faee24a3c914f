"""ALFWorld's text games without a planner: the rules of alfred.pddl and alfred.twl2 in Python."""

from opid_lightning.envs.alfworld.native.session import NativeSession

__all__ = ["NativeSession"]
