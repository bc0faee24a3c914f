"""`fit --help`: our groups by the names that users type. Lightning's own is `--help=all`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import yaml

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.config.choices import CONF, SHARED, groups
from opid_lightning.cli.config.names import PLACES
from opid_lightning.cli.config.signatures import Parameter, parameters_in, summary_of
from opid_lightning.cli.errors import UsageError, nearest
from opid_lightning.cli.verbs.listing import sections, table

EVERYTHING = "all"
DATA = "opid_lightning.training.datamodule.RolloutDataModule"
MODULE = "opid_lightning.training.module.OPIDModule"
HINDSIGHT = "opid_lightning.callbacks.SkillExtraction"
OF_LIGHTNING = {  # groups whose classes are not ours
    "optimizer": "of torch.optim; all that the class takes",
    "trainer": "Lightning's Trainer; all that it takes",
}
OUR_OWN = {
    "model": "which policy (model=NAME), and how its weights are updated",
    "data": "how many tasks an iteration has",
}
BY_NAME = {
    "callbacks": "what watches and keeps a run; ~callbacks.NAME takes one away",
    "logger": "where metrics go",
}
LINKED = ("seed", "rule")  # which the run sets itself
GIVEN = ("analyst", "save_dir")  # which callbacks and loggers get: a group, and the run's folder
WIDTH = 36
USAGE = """\
usage: python -m opid_lightning {verb} conf=NAME [GROUP=CHOICE] [SETTING=VALUE] [~SETTING]

Defaults are those of the classes; a configuration may set others, and --print_config shows them.

  --help=GROUP      one of these groups, with all classes that it may be; also a group of `list`
  --help=all        all settings of Lightning CLI, by their long names
  --print_config    what would run        --dry-run    whether it would, without playing
"""
FLAGS = """\
  seed_everything=0    decides everything that is random
  ckpt_path=FILE       a checkpoint to resume from, or to play; last: the newest of the run's folder
  --config FILE        repeats the run that saved FILE\
"""


@dataclass(frozen=True)
class Group:
    """What users type before the first dot."""

    name: str
    said: str
    settings: tuple[Parameter, ...] = ()  # where it is of one class
    classes: tuple[tuple[str, str, str], ...] = ()  # by what is typed: prefix, choice, class_path


def run(arguments: Arguments) -> int:
    """Raises UsageError for a group that is not there."""
    order = [*PLACES, *OUR_OWN, *BY_NAME, "trainer"]
    by_order = sorted(all_groups(), key=lambda group: order.index(group.name))
    found = {group.name: group for group in by_order}
    topic = (arguments.help or "").partition(".")[0]
    if topic in sections(arguments.conf) and topic not in found:
        print(table(topic, sections(arguments.conf)[topic]))
        return 0
    if topic and topic not in found:
        known = [*found, EVERYTHING]
        raise UsageError(f"There is no help on {topic!r}. {nearest(topic, known)}")
    print("\n".join(section(found[topic]) if topic else overview(arguments.verb, found.values())))
    return 0


def overview(verb: str, found: Collection[Group]) -> Iterator[str]:
    """The lines of `VERB --help`: every group, then its settings."""
    yield USAGE.format(verb=verb)
    yield "groups"
    yield from (f"  {group.name:<12} {group.said}" for group in found)
    yield f"\nwithout a group\n{FLAGS}"
    for group in found:
        if group.settings:
            yield ""
            yield from section(group)


def section(group: Group) -> Iterator[str]:
    """The lines of one group."""
    yield f"{group.name}: {group.said}"
    choices = groups().get(group.name, ())
    if choices and group.name not in BY_NAME:
        yield f"  {group.name}={'|'.join(choices)}    (python -m opid_lightning list {group.name})"
    yield from (line_of(group.name, each) for each in group.settings)
    for prefix, choice, path in group.classes:
        yield f"\n  {choice}: {summary_of(path) or path}"
        taken = [each for each in parameters_in(path) if each.name not in GIVEN]
        yield from (line_of(prefix, each) for each in taken)


def line_of(prefix: str, setting: Parameter) -> str:
    """A setting with its type, default and meaning, on one line."""
    default = "" if setting.default is None else f" = {plain(setting.default)}"
    shown = f"  {f'{prefix}.{setting.name}':<{WIDTH}} {setting.kind}{default}"
    return f"{shown}    {setting.said}" if setting.said else shown


def plain(default: str) -> str:
    """A default as it is typed."""
    words = {"None": "null", "True": "true", "False": "false", "()": "[]"}
    return words.get(default, default.strip("'\"") or "''")


def all_groups() -> Iterator[Group]:
    """The groups in the order in which they are shown."""
    for owner, name in ((DATA, "data"), (MODULE, "model")):
        settings = [each for each in parameters_in(owner) if each.name not in LINKED]
        own = []
        for each in settings:
            head, _, rest = each.name.partition(".")
            if head not in PLACES:
                own += [each]
            elif not rest:
                yield group_of(each, settings)
        yield Group(name, OUR_OWN[name], tuple(own))
    hindsight = {each.name: each for each in parameters_in(HINDSIGHT)}
    yield Group("analyst", hindsight["analyst"].said, classes=classes_of("analyst"))
    yield Group("callbacks", BY_NAME["callbacks"], classes=named_classes("callbacks"))
    yield Group("logger", BY_NAME["logger"], classes=named_classes("logger"))
    yield Group("trainer", OF_LIGHTNING["trainer"], tuple(of_run("trainer")))


def group_of(stage: Parameter, settings: list[Parameter]) -> Group:
    """The group of a stage, with the settings inside it."""
    if stage.name in OF_LIGHTNING:
        said, own = OF_LIGHTNING[stage.name], tuple(of_run(stage.name))
    else:
        dotted = f"{stage.name}."
        inner = [each for each in settings if each.name.startswith(dotted)]
        said = stage.said
        own = tuple(
            Parameter(each.name.removeprefix(dotted), each.kind, each.default, each.said)
            for each in inner
        )
    return Group(stage.name, said, own, classes_of(stage.name))


def classes_of(group: str) -> tuple[tuple[str, str, str], ...]:
    """What the files of conf/GROUP choose: `env.NAME`, and `method.rule.NAME`."""
    found: dict[str, tuple[str, str, str]] = {}
    for choice in groups().get(group, ()):
        tree = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) or {}
        tree = tree.get(group, tree)
        prefix, tree = (f"{group}.rule", tree["rule"]) if "rule" in tree else (group, tree)
        if path := tree.get("class_path"):
            found.setdefault(path, (prefix, f"{group}={choice}", path))
    return tuple(found.values())


def named_classes(group: str) -> tuple[tuple[str, str, str], ...]:
    """Prefix, title and class of each callback or logger of a group."""
    found: dict[str, str] = {}
    for choice in groups()[group]:
        tree = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())
        tree.pop("defaults", None)
        # A choice that starts from another one only sets what differs.
        found |= {name: each["class_path"] for name, each in tree.items() if "class_path" in each}
    return tuple((f"{group}.{name}", f"{group}.{name}", path) for name, path in found.items())


def of_run(group: str) -> Iterator[Parameter]:
    """What every configuration starts from, where a class of another package takes it."""
    tree = yaml.safe_load((CONF / SHARED / "run.yaml").read_text())[group]
    for name, value in tree.get("init_args", tree).items():
        yield Parameter(name, type(value).__name__, str(value), "")
