"""Python and packages, against what this package itself asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from opid_lightning.cli.doctor.findings import Finding, State, pip

PROJECT = "opid_lightning"


def check_python() -> Iterator[Finding]:
    """Compares the running Python with `requires-python` of this package."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    asked = SpecifierSet(metadata.metadata(PROJECT)["Requires-Python"])
    found = f"{version} in {sys.prefix}; wants {asked}"
    if asked.contains(version):
        yield Finding("Python", State.OK, found)
    else:
        fix = "make setup PYTHON=python3.11  # or another that is asked for"
        yield Finding("Python", State.BROKEN, found, fix)


def check_packages() -> Iterator[Finding]:
    """One line for each package without which nothing runs."""
    try:
        requirements = requirements_of(PROJECT)
    except metadata.PackageNotFoundError:
        root = Path(__file__).parents[3]
        fix = pip("install", "--editable", str(root))
        yield Finding(PROJECT, State.MISSING, f"runs from {root}, is not installed", fix)
        return
    yield Finding(PROJECT, State.OK, metadata.version(PROJECT))
    for requirement in requirements:
        yield check_requirement(requirement)


def check_requirement(requirement: Requirement, fix: str | None = None) -> Finding:
    """Compares the installed version with the one that pyproject.toml asks for."""
    version = installed(requirement.name)
    fix = fix or pip("install", bare(requirement))
    if version is None:
        found = f"not installed; wants {requirement.specifier}"
        return Finding(requirement.name, State.MISSING, found, fix)
    found = f"{version}; wants {requirement.specifier}"
    if requirement.specifier.contains(version, prereleases=True):
        return Finding(requirement.name, State.OK, found)
    return Finding(requirement.name, State.BROKEN, found, fix)


def requirements_of(distribution: str, extra: str = "") -> list[Requirement]:
    """What an installed distribution asks for here; with an extra, what that alone adds."""
    all_of_it = [Requirement(text) for text in metadata.requires(distribution) or ()]
    plain = [r for r in all_of_it if holds(r, "")]
    return [r for r in all_of_it if holds(r, extra) and r not in plain] if extra else plain


def holds(requirement: Requirement, extra: str) -> bool:
    """Whether the requirement applies to this platform and extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def bare(requirement: Requirement) -> str:
    """As pip takes it, without the condition under which it is asked for."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def installed(distribution: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
