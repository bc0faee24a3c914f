"""What conf/ offers: configurations, and groups of choices."""

from __future__ import annotations

from pathlib import Path

# As installed: a link to the repository's conf/, or the folder that the wheel carries.
CONF = Path(__file__).parents[2] / "conf"
SHARED = "shared"  # what every configuration starts from; not a choice


def configurations() -> list[str]:
    """Names of the files directly in conf/, which `conf=` takes."""
    return sorted(path.stem for path in CONF.glob("*.yaml"))


def groups(folder: Path = CONF) -> dict[str, list[str]]:
    """Each group with its choices."""
    return {
        path.name: sorted(choice.stem for choice in path.glob("*.yaml"))
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name != SHARED and not path.name.startswith((".", "_"))
    }
