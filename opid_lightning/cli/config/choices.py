"""What conf/ offers: configurations, and groups of choices."""

from __future__ import annotations

from pathlib import Path

from opid_lightning.cli.errors import UsageError, nearest

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


def configuration_file(conf: str) -> Path:
    """The file that `conf=` names, by name or path; raises UsageError where there is none."""
    is_path = conf.endswith((".yaml", ".yml")) or "/" in conf
    file = Path(conf).absolute() if is_path else CONF / f"{conf}.yaml"
    if not file.is_file():
        raise UsageError(
            f"conf={conf}: there is no file {file}."
            if is_path
            else f"There is no configuration conf={conf}. {nearest(conf, configurations())}"
        )
    return file


def available_groups(file: Path) -> dict[str, list[str]]:
    """The choices of conf/, and those beside a configuration file of the user's own."""
    available = groups()
    if file.parent != CONF:
        for group, own in groups(file.parent).items():
            available[group] = sorted({*available.get(group, []), *own})
    return available
