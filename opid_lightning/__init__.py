"""On-policy skill distillation for language-model agents, on Lightning (OPID, arXiv 2606.26790).

What a notebook, a script or your own environment, rule or analyst needs is imported from here:

    from opid_lightning import OPIDModule, RolloutDataModule, Rule, Task

Each name is loaded when it is first used, so `import opid_lightning` alone loads no torch.
docs/python.md lists the names by use; callbacks are in `opid_lightning.callbacks`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opid_lightning.lm.policy import PolicySource
    from opid_lightning.method.advantage import Advantage
    from opid_lightning.method.batching import Batching
    from opid_lightning.method.injection import Injection
    from opid_lightning.method.loss import Loss
    from opid_lightning.method.method import Method
    from opid_lightning.method.routing import Routing
    from opid_lightning.method.rules.additive import Additive
    from opid_lightning.method.rules.distillation import Distillation
    from opid_lightning.method.rules.opsd import OPSD
    from opid_lightning.method.rules.rlsd import RLSD
    from opid_lightning.method.rules.rule import Rule
    from opid_lightning.method.rules.sdar import SDAR
    from opid_lightning.method.rules.skill_sd import SkillSD
    from opid_lightning.method.rules.step_opsd import StepOPSD
    from opid_lightning.protocols import Analyst, Environment, Sampler, Session, Split
    from opid_lightning.rollout.rollout import Rollout
    from opid_lightning.sampling.hf.hugging_face import HuggingFace
    from opid_lightning.training.datamodule import RolloutDataModule
    from opid_lightning.training.evaluation import Evaluation
    from opid_lightning.training.module import OPIDModule
    from opid_lightning.types import (
        Action,
        Analysis,
        Observation,
        Opening,
        PromptText,
        Skills,
        Step,
        Task,
        Trajectory,
        Turn,
    )

__version__ = "0.1.0"

__all__ = [
    "OPSD",
    "RLSD",
    "SDAR",
    "Action",
    "Additive",
    "Advantage",
    "Analysis",
    "Analyst",
    "Batching",
    "Distillation",
    "Environment",
    "Evaluation",
    "HuggingFace",
    "Injection",
    "Loss",
    "Method",
    "OPIDModule",
    "Observation",
    "Opening",
    "PolicySource",
    "PromptText",
    "Rollout",
    "RolloutDataModule",
    "Routing",
    "Rule",
    "Sampler",
    "Session",
    "SkillSD",
    "Skills",
    "Split",
    "Step",
    "StepOPSD",
    "Task",
    "Trajectory",
    "Turn",
]

# Where each of them is defined, as the block for type checkers above says.
_MODULES = {
    "lm.policy": ("PolicySource",),
    "method.advantage": ("Advantage",),
    "method.batching": ("Batching",),
    "method.injection": ("Injection",),
    "method.loss": ("Loss",),
    "method.method": ("Method",),
    "method.routing": ("Routing",),
    "method.rules.additive": ("Additive",),
    "method.rules.distillation": ("Distillation",),
    "method.rules.opsd": ("OPSD",),
    "method.rules.rlsd": ("RLSD",),
    "method.rules.rule": ("Rule",),
    "method.rules.sdar": ("SDAR",),
    "method.rules.skill_sd": ("SkillSD",),
    "method.rules.step_opsd": ("StepOPSD",),
    "protocols": ("Analyst", "Environment", "Sampler", "Session", "Split"),
    "rollout.rollout": ("Rollout",),
    "sampling.hf.hugging_face": ("HuggingFace",),
    "training.datamodule": ("RolloutDataModule",),
    "training.evaluation": ("Evaluation",),
    "training.module": ("OPIDModule",),
    "types": (
        *("Action", "Analysis", "Observation", "Opening", "PromptText"),
        *("Skills", "Step", "Task", "Trajectory", "Turn"),
    ),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # or type checkers would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
