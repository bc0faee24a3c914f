"""Lightning callbacks of opid_lightning; imported as `opid_lightning.callbacks`."""

from opid_lightning.callbacks.hf_export import HFExport
from opid_lightning.callbacks.iteration_checkpoint import IterationCheckpoint
from opid_lightning.callbacks.learning_curve import LearningCurve
from opid_lightning.callbacks.policy_health import PolicyHealth
from opid_lightning.callbacks.rollout_progress import RolloutProgressBar
from opid_lightning.callbacks.rollout_statistics import RolloutStatistics
from opid_lightning.callbacks.routing_statistics import RoutingStatistics
from opid_lightning.callbacks.skill_extraction import SkillExtraction
from opid_lightning.callbacks.stage_timer import StageTimer
from opid_lightning.callbacks.trajectory_log import TrajectoryLog

__all__ = [
    "HFExport",
    "IterationCheckpoint",
    "LearningCurve",
    "PolicyHealth",
    "RolloutProgressBar",
    "RolloutStatistics",
    "RoutingStatistics",
    "SkillExtraction",
    "StageTimer",
    "TrajectoryLog",
]
