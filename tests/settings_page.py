"""Writes docs/settings.md from the classes and conf/: `python -m tests.settings_page`.

A row is a parameter of a class that the command line builds: its type and default come from the
signature, its meaning from the comment beside the field, or from the docstring's `Args`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from opid_lightning.callbacks import SkillExtraction
from opid_lightning.cli.config.choices import CONF, configurations, groups
from opid_lightning.cli.config.composition import compose_conf
from opid_lightning.cli.config.names import CLASS_KEYS, short
from opid_lightning.envs.search.retriever.client import Service
from opid_lightning.method import rules
from opid_lightning.method.critical_steps import CriticalSteps
from opid_lightning.method.rules.rule import Rule
from opid_lightning.training.datamodule import RolloutDataModule
from opid_lightning.training.module import OPIDModule

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
# What the run itself passes in.
GIVEN = {"data.seed", "logger.csv.save_dir", "logger.wandb.save_dir"}
INTRODUCTION = """\
# Settings

This page is generated from the classes and `conf/` by `python -m tests.settings_page`. Do not edit
it by hand; edit the comment beside the field.

A setting is `group=choice`, which picks a file of `conf/GROUP/`, or `a.b=c`, which sets one value.
`--print_config` prints the configuration that would run. The defaults of the classes are those of
the paper; [a configuration](#configurations) changes some of them. Every group that holds an
object takes `GROUP.class_path=MODULE.CLASS` for a class of your own.
"""
TRAINER = """\
## trainer

`trainer.*` is passed to Lightning's
[Trainer](https://lightning.ai/docs/pytorch/stable/common/trainer.html). `seed_everything` (default
0) decides everything that is random. `ckpt_path` is `last`, or a checkpoint to resume from or to
evaluate. `trainer.default_root_dir` is the run's folder.
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """The settings of one class under the prefix that users type."""

    prefix: str
    kind: type
    choice: str = ""  # of its group, as `sampler=vllm`
    path: str = ""  # by which conf/ names the class

    @property
    def heading(self) -> str:
        path = self.path or f"{self.kind.__module__}.{self.kind.__qualname__}"
        chosen = f"`{self.choice}`, `{path}`" if self.choice else f"`{path}`"
        return f"### {self.prefix}: {chosen}"


def page() -> str:
    parts = [INTRODUCTION, table_of_groups()]
    for title, sections in chapters().items():
        parts += [f"## {title}\n", *map(text_of, sections)]
    return "\n".join([*parts, TRAINER, table_of_configurations()])


# ------------------------------------------------------------------ what there is


@cache
def chapters() -> dict[str, list[Section]]:
    data, model = stages_of(RolloutDataModule, "data"), stages_of(OPIDModule, "model")
    return {
        "Environments": [
            *chosen_classes("env"),
            Section("env.retriever", Service),
        ],
        "Rollout and sampling": [
            *(data[name] for name in ("rollout", "workers")),
            *chosen_classes("sampler"),
        ],
        "Hindsight": [
            Section("callbacks.skill_extraction", SkillExtraction),
            Section("callbacks.skill_extraction.statistics", CriticalSteps),
            *chosen_classes("analyst"),
        ],
        "Method": [
            *(data[name] for name in ("routing", "injection", "advantage", "method")),
            *(Section("method.rule", rule) for rule in all_rules()),
            model["loss"],
            data["batching"],
        ],
        "Policy and update": [
            model["policy"],
            nested(model["policy"].kind, "lora", "policy.lora"),
            Section("model", OPIDModule),
            Section("data", RolloutDataModule),
        ],
        "Evaluation": [data["evaluation"]],
        "Strategies, callbacks and loggers": [
            *chosen_classes("strategy"),
            *named_classes("callbacks"),
            *named_classes("logger"),
        ],
    }


def stages_of(owner: type, name: str) -> dict[str, Section]:
    """The parameters of a class that are dataclasses, by name."""
    hints = typing.get_type_hints(owner.__init__)
    return {
        parameter: Section(short(f"{name}.{parameter}"), kind)
        for parameter, kind in hints.items()
        if dataclasses.is_dataclass(kind) and isinstance(kind, type)
    }


def nested(owner: type, field: str, prefix: str) -> Section:
    options = typing.get_args(typing.get_type_hints(owner)[field])
    return Section(prefix, next(kind for kind in options if dataclasses.is_dataclass(kind)))


def chosen_classes(group: str) -> list[Section]:
    """The classes that the files of a group name, the most basic choice first."""
    found = []
    for choice in groups()[group]:
        tree = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())
        node = tree.get(group, tree)
        if isinstance(node, dict) and "class_path" in node:
            prefix = "trainer.strategy" if group == "strategy" else group
            path = node["class_path"]
            kind = pkgutil.resolve_name(path)
            found.append(Section(prefix, kind, f"{group}={choice}", path))
    return found


def named_classes(group: str) -> list[Section]:
    """Callbacks and loggers, which have names; SkillExtraction has a chapter of its own."""
    found = []
    for choice in groups()[group]:
        tree = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())
        for name, node in tree.items():
            # A choice that starts from another one only sets what differs.
            if name not in ("defaults", "skill_extraction") and "class_path" in node:
                path = node["class_path"]
                found.append(Section(f"{group}.{name}", pkgutil.resolve_name(path), path=path))
    return found


def all_rules() -> list[type[Rule]]:
    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"{rules.__name__}.{module.name}")
    shipped = [kind for kind in subclasses(Rule) if kind.__module__.startswith(rules.__name__)]
    return sorted(shipped, key=lambda kind: kind.__qualname__)


def subclasses(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


# ------------------------------------------------------------------ how it is shown


def text_of(section: Section) -> str:
    rows = list(rows_of(section))
    lines = [section.heading, "", first_sentence(section.kind), ""]
    if rows:
        lines += ["| setting | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def rows_of(section: Section) -> Iterator[str]:
    hints, meanings = type_hints(section.kind), meanings_of(section.kind)
    for name, parameter in own_parameters(section.kind):
        if f"{section.prefix}.{name}" in GIVEN:
            continue
        default = default_of(section.kind, parameter)
        meaning = meanings.get(name, "").rstrip(".")
        yield row(f"`{section.prefix}.{name}`", named(hints.get(name)), default, meaning)


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def own_parameters(kind: type) -> Iterator[tuple[str, inspect.Parameter]]:
    """Those of the class, without stages (which have sections) and what the run passes in."""
    hints = type_hints(kind)
    for name, parameter in inspect.signature(kind).parameters.items():
        hint = hints.get(name)
        is_stage = kind in (OPIDModule, RolloutDataModule) and (
            hint is OPIDModule or dataclasses.is_dataclass(hint) or getattr(hint, "_is_protocol", 0)
        )
        is_given = name in ("analyst", "statistics") and kind is SkillExtraction
        if not is_stage and not is_given and parameter.kind is not parameter.VAR_KEYWORD:
            yield name, parameter


@cache
def type_hints(kind: type) -> Mapping[str, Any]:
    init = typing.get_type_hints(kind.__init__)
    return init if init.keys() - {"return"} else typing.get_type_hints(kind)


def named(hint: Any) -> str:
    if hint is None or hint is Any:
        return ""
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = dict.fromkeys(map(named, typing.get_args(hint)))
        return " or ".join(parts)
    if typing.get_origin(hint) is tuple or typing.get_origin(hint) is list:
        return f"list of {named(typing.get_args(hint)[0])}"
    simple = {type(None): "null", str: "text"}
    if hint in simple:
        return simple[hint]
    return typing.get_origin(hint).__name__ if typing.get_origin(hint) else hint.__name__


def default_of(kind: type, parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is parameter.empty:
        return "required"
    if dataclasses.is_dataclass(kind):
        field = next((f for f in dataclasses.fields(kind) if f.name == parameter.name), None)
        if field is not None and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
    return shown(default)


def shown(value: Any) -> str:
    if callable(value) or dataclasses.is_dataclass(value):
        return f"`{getattr(value, '__name__', type(value).__name__)}`"
    if isinstance(value, torch.dtype | type):
        return f"`{value}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, str | dict):
        return f"`{value}`"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value}"


def first_sentence(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")


# ------------------------------------------------------------------ what it means


@cache
def meanings_of(kind: type) -> Mapping[str, str]:
    """By parameter; a subclass's own words win."""
    meanings: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith("opid_lightning"):
            meanings |= {**comments_of(owner), **arguments_of(owner)}
    return meanings


def comments_of(kind: type) -> dict[str, str]:
    """Of each annotated field, the comment at the end of its line, or the lines above it."""
    lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    body = ast.parse("\n".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert node.end_lineno is not None
            beside = lines[node.end_lineno - 1][node.end_col_offset or 0 :].partition("# ")[2]
            above = []
            for line in reversed(lines[: node.lineno - 1]):
                if not line.strip().startswith("# "):
                    break
                above.insert(0, line.strip().removeprefix("# "))
            found[node.target.id] = " ".join([*above, beside]).strip()
    return found


def arguments_of(kind: type) -> dict[str, str]:
    """The docstring's section `Args`."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Args:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}


# ------------------------------------------------------------------ conf/


def table_of_groups() -> str:
    lines = ["## Groups", "", "| group=choice | what it is |", "|---|---|"]
    for name in configurations():
        lines.append(row(f"`conf={name}`", first_comment(CONF / f"{name}.yaml")))
    for group, choices in groups().items():
        for choice in choices:
            meaning = first_comment(CONF / group / f"{choice}.yaml")
            lines.append(row(f"`{group}={choice}`", meaning or first_class(group, choice)))
    return "\n".join([*lines, ""])


def first_comment(path: Path) -> str:
    """The first sentence of the comment that a file begins with."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    comment = []
    for line in lines:
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    return " ".join(comment).partition(". ")[0].rstrip(".")


def first_class(group: str, choice: str) -> str:
    """What the class of a choice says of itself, where the file has no comment."""
    tree = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())
    for node in (tree.get(group, tree), *tree.values()):
        if isinstance(node, dict) and "class_path" in node:
            return first_sentence(pkgutil.resolve_name(node["class_path"])).rstrip(".")
    return f"`trainer.strategy={tree['strategy']}`" if "strategy" in tree else ""


def table_of_configurations() -> str:
    """What each configuration sets to something else than the class's default."""
    columns = {name: settings_of(name) for name in configurations()}
    keys = sorted({key for settings in columns.values() for key in settings})
    lines = [
        "## Configurations",
        "",
        "Where a configuration as it stands differs from the classes' defaults. Empty cells are "
        "defaults.",
        "",
        row("setting", *(f"`conf={name}`" for name in columns)),
        "|---" * (len(columns) + 1) + "|",
    ]
    for key in keys:
        cells = (shown(s[key]) if key in s else "" for s in columns.values())
        lines.append(row(f"`{key}`", *cells))
    return "\n".join(lines) + "\n"


def settings_of(name: str) -> dict[str, Any]:
    tree = compose_conf(name, {}).tree
    defaults = {
        f"{section.prefix}.{parameter}": default_of(section.kind, signature)
        for sections in chapters().values()
        for section in sections
        for parameter, signature in own_parameters(section.kind)
        if is_used(section, tree)
    }
    settings = {key: value for key, value in values_of(tree) if not key.startswith("analyst.")}
    return {
        key: value
        for key, value in settings.items()
        if defaults.get(key) != shown(value)
        and not re.match(r"(callbacks|logger)\.|.*class_path$", key)
    }


def values_of(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, Mapping):
        yield prefix, node
        return
    for name, inner in node.items():
        inside = prefix if name in CLASS_KEYS[1:] else f"{prefix}.{name}" if prefix else str(name)
        yield from values_of(inner, short(inside))


def is_used(section: Section, tree: Mapping[str, Any]) -> bool:
    node: Any = tree
    for part in section.prefix.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or "class_path" not in node:
        return True
    return bool(node["class_path"].rpartition(".")[2] == section.kind.__name__)


if __name__ == "__main__":
    PAGE.write_text(page())
