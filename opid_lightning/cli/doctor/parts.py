"""The objects that a configuration names, looked at one by one, without Lightning."""

from __future__ import annotations

import pkgutil
from argparse import ArgumentError
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from opid_lightning.cli.config.names import Tree
from opid_lightning.cli.config.trust import EVERYTHING, Trust

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """Of a resolved configuration; of all that could be configured where there is none."""

    tree: Tree | None = None
    trust: Trust = EVERYTHING

    @property
    def joined_servers(self) -> tuple[str, ...]:
        """Of the sampler, which others have started."""
        sampler = (self.tree or {}).get("sampler") or {}
        return tuple((sampler.get("init_args") or {}).get("urls") or ())

    @property
    def runs_vllm(self) -> bool:
        """On this machine."""
        samples = ".sampling.vllm" in self.class_path("sampler") and not self.joined_servers
        return samples or (self.has_analyst and self._analyst_starts_vllm)

    @property
    def _analyst_starts_vllm(self) -> bool:
        arguments = ((self.tree or {}).get("analyst") or {}).get("init_args") or {}
        is_server = self.class_path("analyst").endswith(".vllm_server.VLLMServer")
        return is_server and not arguments.get("base_url")

    @property
    def has_analyst(self) -> bool:
        """Whether the configuration has the callback that owns an analyst."""
        return self.tree is not None and "skill_extraction" in (self.tree.get("callbacks") or {})

    @property
    def logs_to_wandb(self) -> bool:
        """Whether one of the configured loggers is W&B's."""
        loggers = (self.tree or {}).get("logger") or {}
        return any("WeightsAndBiases" in str(logger) for logger in loggers.values())

    @property
    def accelerator(self) -> str:
        """`trainer.accelerator`, "auto" where it is not set."""
        return str(((self.tree or {}).get("trainer") or {}).get("accelerator", "auto"))

    @property
    def policy_path(self) -> str | None:
        """`policy.path`; None without a configuration."""
        path = ((self.tree or {}).get("policy") or {}).get("path")
        return None if path is None else str(path)

    def class_path(self, name: str) -> str:
        """The class that a group names, such as "analyst"; blank where there is none."""
        return str(((self.tree or {}).get(name) or {}).get("class_path", ""))

    def build(self, name: str) -> Any:
        """As `fit` would; raises ValueError for what the class refuses, or nobody trusts."""
        node = (self.tree or {})[name]
        if not self.trust.covers(node["class_path"]):
            raise ValueError(f"{node['class_path']} is not imported. Add --trust if you trust it.")
        return made(pkgutil.resolve_name(node["class_path"]), node.get("init_args") or {})


def made(kind: type[T], settings: Mapping[str, Any]) -> T:
    """An object of a class, and those that are among its settings."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "made")
    try:
        parsed = parser.parse_object({"made": dict(settings)})
    except ArgumentError as error:
        raise ValueError(str(error)) from error
    found: T = parser.instantiate(parsed).made
    return found
