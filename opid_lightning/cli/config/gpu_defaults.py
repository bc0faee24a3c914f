"""Defaults that depend on the machine: what a run takes where CUDA is there (conf/shared/gpu.yaml).

They lie under all that a file or the command line says.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import yaml

from opid_lightning.cli.config.arguments import Setting
from opid_lightning.cli.config.choices import CONF, SHARED
from opid_lightning.cli.config.composition import Composition, source_of
from opid_lightning.cli.config.names import (
    Tree,
    from_places,
    keys_of,
    leaves_of,
    set_key,
    short,
    value_at,
)
from opid_lightning.cli.config.signatures import parameters_in

FILE = CONF / SHARED / "gpu.yaml"
ON_A_GPU = (KeyError, None, "auto", "gpu", "cuda")  # of trainer.accelerator; KeyError: not set
VERBS = ("fit", "validate", "test", "predict")  # those that build a trainer


@dataclass(frozen=True)
class Machine:
    """What decides about defaults; None: look."""

    cuda: bool | None = None
    vllm: bool | None = None  # whether it is installed
    is_launched: bool | None = None  # whether torchrun or SLURM starts each process on its own

    def has_cuda(self) -> bool:
        """Whether torch can use a GPU by CUDA."""
        if self.cuda is not None:
            return self.cuda
        import torch

        return torch.cuda.is_available()

    def has_vllm(self) -> bool:
        """Whether vLLM is installed; it is not imported."""
        return find_spec("vllm") is not None if self.vllm is None else self.vllm

    def launches(self) -> bool:
        """Whether a launcher has decided already how many devices there are."""
        if self.is_launched is not None:
            return self.is_launched
        from opid_lightning.cli.launch import is_one_of_many

        return is_one_of_many(num_nodes=1)


@dataclass(frozen=True)
class GPUDefaults:
    """What is taken: choices of groups, settings over them, and the line that says so."""

    choices: Mapping[str, str]
    settings: Tree
    note: str

    def laid_under(self, composition: Composition) -> Composition:
        """The composition with the settings, none of which it sets itself."""
        tree = copy.deepcopy(composition.tree)
        for key, value in from_places(self.settings).items():
            set_key(tree, key, value)
        source = source_of(FILE, layers=[self.settings])
        return Composition(
            composition.name, tree, (source, *composition.sources), composition.untouched
        )


def gpu_defaults(
    composition: Composition, typed: Sequence[Setting], machine: Machine
) -> GPUDefaults | None:
    """None where there is no CUDA, or the run does not use it."""
    if not uses_gpu(composition, typed) or not machine.has_cuda():
        return None
    plan: Any = yaml.safe_load(FILE.read_text())
    layers, choices = [plan["settings"]], {}
    if is_pretrained(composition, typed):
        layers.append(plan["pretrained"]["settings"])
        choices = plan["pretrained"]["choices"]
    is_set = frozenset().union(*(s.keys for s in composition.sources), keys_typed(typed))
    if machine.launches():
        is_set |= {"trainer.devices"}
    settings: Tree = {}
    for key, value in (pair for layer in layers for pair in leaves_of(layer)):
        if short(key) not in is_set:
            set_key(settings, key, value)
    wanted = {group: c for group, c in choices.items() if group in composition.untouched}
    wanted = {g: c for g, c in wanted.items() if takes(g, c, typed)}
    taken = {group: c for group, c in wanted.items() if c != "vllm" or machine.has_vllm()}
    return GPUDefaults(taken, settings, note_on(taken, settings, wanted.keys() - taken.keys()))


def uses_gpu(composition: Composition, typed: Iterable[Setting]) -> bool:
    """Whether trainer.accelerator leaves the device to torch, or asks for CUDA."""
    return last("trainer.accelerator", composition, typed) in ON_A_GPU


def is_pretrained(composition: Composition, typed: Iterable[Setting]) -> bool:
    """Whether the policy is none of those that ship, which are small, nor drawn at random."""
    from opid_lightning.lm.policy import EMBEDDED_NAMES

    path = last("policy.path", composition, typed)
    is_random = last("policy.random_init", composition, typed)
    return path not in (KeyError, None, *EMBEDDED_NAMES) and is_random is not True


def last(key: str, composition: Composition, typed: Iterable[Setting]) -> Any:
    """The value of a setting as it was typed, else as a file has it, else KeyError."""
    value = value_at(composition.tree, key)
    for setting in typed:
        for inner, found in leaves_of(setting.value, setting.key):
            if short(inner) == key:
                value = found
    return value


def keys_typed(typed: Iterable[Setting]) -> set[str]:
    """Every key that was typed, also as a part of a mapping, and those around it."""
    return {key for setting in typed for key in keys_of(setting.value, setting.key)}


def takes(group: str, choice: str, typed: Iterable[Setting]) -> bool:
    """Whether the class of a choice has all settings that were typed for its group."""
    path = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())["class_path"]
    known = {f"{group}.{parameter.name}" for parameter in parameters_in(path)}
    asked = {short(key) for s in typed for key in keys_of(s.value, s.key)} - {group}
    return all(
        any(key == name or key.startswith(name + ".") for name in known)
        for key in asked
        if key.startswith(group + ".")
    )


def note_on(choices: Mapping[str, str], settings: Tree, missing: Iterable[str]) -> str:
    """One line; empty where everything is set already."""
    pairs = [*choices.items(), *leaves_of(settings)]
    said = ", ".join(f"{key}={value}" for key, value in pairs)
    line = f"CUDA is there, and nothing else is set: {said}." if said else ""
    for group in missing:
        line += (
            f" {group}=vllm would be faster, but vLLM is not installed "
            "(pip install 'opid_lightning[vllm]')."
        )
    return line.strip()
