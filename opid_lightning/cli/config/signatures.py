"""What a class takes, read from its source: importing it would take seconds."""

from __future__ import annotations

import ast
import functools
import io
import itertools
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from opid_lightning.cli.errors import PACKAGE

ARGUMENT = re.compile(r"    (\w+): ")


@dataclass(frozen=True)
class Parameter:
    """A setting as its class declares it."""

    name: str
    kind: str
    default: str | None  # none: it has to be set
    said: str  # one line of its comment or docstring


@dataclass(frozen=True)
class Source:
    """A module's text, and what it says."""

    tree: ast.Module
    comments: dict[int, str]  # by line
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A class or an alias, with the module that it is in."""

    node: ast.ClassDef | ast.expr
    source: Source


def parameters_in(class_path: str) -> list[Parameter]:
    """The settings of a class of this package by its path; none where it is of another."""
    found = look_up(class_path)
    return list(parameters_of(found)) if found else []


def summary_of(class_path: str) -> str:
    """The first sentence of its docstring."""
    found = look_up(class_path)
    if found is None or not isinstance(found.node, ast.ClassDef):
        return ""
    return first_sentence(ast.get_docstring(found.node) or "")


def look_up(path: str) -> Found | None:
    """What a dotted path stands for; None where this package does not define it."""
    module, _, name = path.rpartition(".")
    source = read_module(module)
    return resolve(name, source) if source else None


@functools.cache
def read_module(module: str) -> Source | None:
    """The source of a module of this package; None for others."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    folder = PACKAGE.joinpath(*parts[1:])
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return read_file(file) if file.is_file() else None


def read_file(file: Path) -> Source:
    """The syntax tree of a file, with its comments by line."""
    text = file.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return Source(ast.parse(text), comments, tuple(text.splitlines()))


def resolve(name: str, source: Source) -> Found | None:
    """What a name of a module stands for, where this package defines it."""
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Found(node, source)
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == name for each in node.targets
        ):
            return Found(node.value, source)
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return look_up(f"{node.module}.{alias.name}")
    return None


def parameters_of(found: Found) -> Iterator[Parameter]:
    """Those of base classes first; of settings that are settings themselves, the inner ones."""
    node, source = found.node, found.source
    if not isinstance(node, ast.ClassDef):
        return
    makers = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    maker = next((each for each in makers if each.name == "__init__"), None)
    if maker is None:
        for base in node.bases:
            inherited = resolve(base.id, source) if isinstance(base, ast.Name) else None
            yield from parameters_of(inherited) if inherited else ()
    declared = arguments_of(maker, node) if maker else fields_of(node, source)
    for name, annotation, default, said in declared:
        shown = Parameter(name, kind_of(annotation, source), default, said)
        yield shown
        for inner in settings_inside(annotation, source):
            yield replace(inner, name=f"{name}.{inner.name}")


Declared = tuple[str, ast.expr | None, str | None, str]


def fields_of(node: ast.ClassDef, source: Source) -> Iterator[Declared]:
    """The fields of a dataclass that its constructor takes."""
    if not is_dataclass(node):
        return
    for each in node.body:
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
            continue
        made = each.value if isinstance(each.value, ast.Call) else None
        options = {word.arg: ast.unparse(word.value) for word in made.keywords} if made else {}
        if options.get("init") == "False":
            continue
        default = options.get("default") or options.get("default_factory")
        default = {"dict": "{}", "list": "[]"}.get(default or "", default)
        if each.value is not None and default is None:
            default = ast.unparse(each.value)
        yield each.target.id, each.annotation, default, comment_on(each, source)


def comment_on(node: ast.AnnAssign, source: Source) -> str:
    """At the end of its line, or on the lines above."""
    lines = source.comments
    if said := lines.get(node.end_lineno or node.lineno):
        return first_sentence(said)
    above = itertools.takewhile(
        lambda line: source.lines[line - 1].lstrip().startswith("#"),
        range(node.lineno - 1, 0, -1),
    )
    return first_sentence(" ".join(lines[line] for line in reversed(list(above))))


def arguments_of(maker: ast.FunctionDef, node: ast.ClassDef) -> Iterator[Declared]:
    """The arguments of a constructor, with what the class's docstring says of them."""
    described = described_in(ast.get_docstring(node) or "")
    given = maker.args.args[1:]
    required: list[ast.expr | None] = [None] * (len(given) - len(maker.args.defaults))
    pairs = zip(given, [*required, *maker.args.defaults], strict=True)
    keywords = zip(maker.args.kwonlyargs, maker.args.kw_defaults, strict=True)
    for argument, default in itertools.chain(pairs, keywords):
        text = ast.unparse(default) if default is not None else None
        yield argument.arg, argument.annotation, text, described.get(argument.arg, "")


def described_in(docstring: str) -> dict[str, str]:
    """The first sentence on each argument under `Args:`."""
    found: dict[str, list[str]] = {}
    lines = iter(docstring.partition("Args:\n")[2].splitlines())
    name = ""
    for line in itertools.takewhile(lambda line: line.startswith("    "), lines):
        if argument := ARGUMENT.match(line):
            name = argument[1]
            found[name] = [line[argument.end() :]]
        elif name:
            found[name].append(line.strip())
    return {name: first_sentence(" ".join(words)) for name, words in found.items()}


def kind_of(annotation: ast.expr | None, source: Source) -> str:
    """As a user reads it: words for a Literal, null for None."""
    if annotation is None:
        return ""
    text = ast.unparse(annotation)
    for name in {each.id for each in ast.walk(annotation) if isinstance(each, ast.Name)}:
        found = resolve(name, source)
        if found and not isinstance(found.node, ast.ClassDef):
            text = re.sub(rf"\b{name}\b", ast.unparse(found.node).replace("\\", r"\\"), text)
    text = re.sub(r"Literal\[(.*?)\]", lambda m: m[1].replace("'", "").replace(", ", "|"), text)
    return re.sub(r"\bNone\b", "null", text).replace(" | ", "|")


def settings_inside(annotation: ast.expr | None, source: Source) -> Iterator[Parameter]:
    """The fields of the dataclasses that an annotation names."""
    for each in ast.walk(annotation) if annotation else ():
        found = resolve(each.id, source) if isinstance(each, ast.Name) else None
        if found and isinstance(found.node, ast.ClassDef) and is_dataclass(found.node):
            yield from parameters_of(found)


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether the class is decorated as one."""
    return any("dataclass" in ast.unparse(each) for each in node.decorator_list)


def first_sentence(text: str) -> str:
    """The first sentence, without its full stop, in the words of YAML."""
    joined = " ".join(text.split())
    return re.sub(r"\bNone\b", "null", joined.partition(". ")[0]).rstrip(".")
