"""`list`: what conf/ offers, each with the first comment line of its file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.config.choices import CONF, available_groups, configuration_file
from opid_lightning.cli.errors import UsageError, nearest

USAGE = """\
usage: python -m opid_lightning list [GROUP ...] [conf=PATH]

Shows configurations and the choices of each group, or those of one group alone, as `list method`.
conf=PATH, your own YAML file or its folder, adds what stands beside it.
"""
TITLES = {  # in this order; a group without a title follows
    "conf": "configurations",
    "recipe": "recipes",
    "env": "environments",
    "method": "methods",
    "analyst": "analysts",
    "model": "policies",
    "sampler": "samplers",
    "preset": "presets",
    "strategy": "strategies",
    "logger": "loggers",
}
Section = dict[str, Path]  # by what is typed after `group=`


def run(arguments: Arguments) -> None:
    """Raises UsageError for a group that is not there."""
    if arguments.wants_help:
        print(USAGE, end="")
        return
    if unused := [*(each.typed for each in arguments.settings), *arguments.flags]:
        raise UsageError(f"list does not take {unused[0]}. Expected GROUP or conf=PATH.")
    print("\n\n".join(table(group, files) for group, files in chosen(arguments).items()))


def chosen(arguments: Arguments) -> dict[str, Section]:
    """The sections that were asked for by title or group; all without a word."""
    found = sections(arguments.conf)
    by_word = {
        **{title: group for group, title in TITLES.items()},
        **{name: name for name in found},
    }
    for word in arguments.words:
        if word not in by_word:
            raise UsageError(f"There is no group {word!r} in conf/. {nearest(word, found)}")
    names = [by_word[word] for word in arguments.words]
    return {name: found[name] for name in names or found}


def sections(conf: str | None) -> dict[str, Section]:
    """Each group with its files; a user's own file wins over ours of the same name."""
    folders = [CONF] if conf is None else own_folders(conf)
    found: dict[str, Section] = {"conf": {}}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            found["conf"][path.stem if folder == CONF else str(path)] = path
        for group, names in available_groups(folder / "any.yaml").items():
            own = {name: folder / group / f"{name}.yaml" for name in names}
            found.setdefault(group, {}).update(
                {name: path for name, path in own.items() if path.is_file()}
            )
    return {name: found[name] for name in [*TITLES, *found] if name in found}


def own_folders(conf: str) -> list[Path]:
    """Ours first, then the one of the user."""
    own = Path(conf) if Path(conf).is_dir() else configuration_file(conf).parent
    return list(dict.fromkeys([CONF, own]))


def table(group: str, files: Mapping[str, Path]) -> str:
    """One line per choice of a group."""
    width = max(map(len, files), default=0)
    lines = [f"  {name:<{width}}  {summary(path)}".rstrip() for name, path in files.items()]
    return "\n".join([f"{TITLES.get(group, group)}: {group}=NAME", *lines])


def summary(path: Path) -> str:
    """The first comment line of the file; empty where it begins with settings."""
    return next(comments(path.read_text(encoding="utf-8", errors="replace")), "")


def comments(text: str) -> Iterator[str]:
    """The lines of the comment that a file begins with."""
    lines = (line.strip() for line in text.splitlines())
    head = itertools.takewhile(lambda line: not line or line.startswith("#"), lines)
    words = (line.lstrip("#").strip() for line in head)
    return (each for each in words if each and not each.startswith("@package"))
