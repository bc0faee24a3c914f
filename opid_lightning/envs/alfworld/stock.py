"""The installed `alfworld` and `textworld` packages, kept from touching more than asked."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

DATA_VARIABLE = "ALFWORLD_DATA"


def import_alfworld(module: str) -> ModuleType:
    """A module of alfworld, whose import makes a folder in the home and sets a variable."""
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = tempfile.gettempdir()  # exists, so that nothing is made
    try:
        return importlib.import_module(f"alfworld.{module}")
    finally:
        if before is None:
            del os.environ[DATA_VARIABLE]
        else:
            os.environ[DATA_VARIABLE] = before


def shipped(path: str) -> Path:
    """A file or folder that lies in the alfworld package."""
    spec = importlib.util.find_spec("alfworld")
    if spec is None or spec.origin is None:
        raise ValueError(
            "env=alfworld needs the packages alfworld and textworld: pip install alfworld"
        )
    return Path(spec.origin).parent / path


def new_engine() -> Any:
    """A stock engine that names things as ALFWorld does: `mug 1`, not their PDDL ids."""
    textworld = importlib.import_module("textworld")
    pddl = importlib.import_module("textworld.envs.pddl")
    stock = import_alfworld("agents.environment.alfred_tw_env")
    infos = textworld.EnvInfos(won=True, admissible_commands=True)
    return stock.AlfredDemangler(pddl.PddlEnv(infos))


@contextmanager
def translating_once() -> Iterator[None]:
    """Within, a game is translated for the solver once in this process, not four times a reset.

    Half of the stock translations serve a planner that is never asked here, the others repeat
    what the last one found. The translator also overwrites `sys.argv`, which is put back.
    """
    fast_downward: Any = importlib.import_module("fast_downward")
    translate, arguments = fast_downward.pddl2sas, sys.argv
    fast_downward.pddl2sas = _translation_for_play
    try:
        yield
    finally:
        fast_downward.pddl2sas, sys.argv = translate, arguments


def _translation_for_play(
    domain: str, problem: str, verbose: bool = False, optimize: bool = False
) -> Any:
    return _translation(domain, problem)


@lru_cache(maxsize=8)  # attempts at a task start one after another; an entry takes 7 MB
def _translation(domain: str, problem: str) -> Any:
    return importlib.import_module("fast_downward.interface").pddl2sas(domain, problem)
