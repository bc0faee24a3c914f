"""The file of a bank of skills: how it is found, read and checked.

general: [what holds for every task, ...]     a text, or a list of texts
kinds:                                        may be left out
  pick_and_place_simple: a text, or a list    by Task.kind
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from opid_lightning.files.json_reading import read_json
from opid_lightning.gate import shown
from opid_lightning.hindsight.reply import AnalysisError, Reply, keep_valid
from opid_lightning.types import Skills

SHIPPED = Path(__file__).parent / "banks"
ENDINGS = (".yaml", ".yml", ".json")
FIELDS = ("general", "kinds")
EXPECTED = (
    "Expected `general`, a text or a list of texts, and `kinds`, a text or a list of texts for "
    "each kind of task (docs/methods.md has an example)"
)


@dataclass(frozen=True)
class BankFile:
    """Skills that never change: for every task, and by the kind of the task."""

    general: str
    kinds: Mapping[str, str]

    def skill_for(self, kind: str) -> str:
        """The general skills, and those of the kind where there are any."""
        return "\n".join(part for part in (self.general, self.kinds.get(kind)) if part)


def read_bank(path: str) -> BankFile:
    """The bank of a file, or the one that ships under this name. Raises ValueError, naming it."""
    file = file_of(path)
    try:
        bank = bank_of(content_of(file))
        check_usable(bank)
    except (ValueError, yaml.YAMLError, RecursionError, OSError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(
            f"analyst.path {file} is no bank of skills: {reason}. {EXPECTED}"
        ) from error
    return bank


def file_of(path: str) -> Path:
    """Raises ValueError where there is no such file."""
    shipped = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
    file = SHIPPED / f"{path}.yaml" if path in shipped else Path(path).absolute()
    if not file.is_file() or file.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"analyst.path is {path!r}; expected a file that ends in {', '.join(ENDINGS)}, or one "
            f"of the banks that ship: {', '.join(shipped)}"
        )
    return file


def content_of(file: Path) -> Any:
    """What the file holds. Raises ValueError where a key stands twice, of which one would win."""
    text = file.read_text(encoding="utf-8")
    if file.suffix.lower() == ".json":
        read_json(text)  # which limits how deep it nests
        return json.loads(text, object_pairs_hook=without_repetition)
    if (node := yaml.compose(text, Loader=yaml.SafeLoader)) is not None:
        check_keys(node)
    return yaml.safe_load(text)


def without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a JSON file; raises ValueError for a key that stands twice."""
    refuse_repeated([name for name, _ in pairs])
    return dict(pairs)


def check_keys(node: Any) -> None:
    """The same for the outer two levels of a YAML file: deeper ones are refused anyway."""
    for mapping in (node, *(value for _, value in pairs_of(node))):
        refuse_repeated([str(key.value) for key, _ in pairs_of(mapping)])


def pairs_of(node: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a mapping; none of anything else."""
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def refuse_repeated(names: Sequence[str]) -> None:
    """Raises ValueError where a name stands twice."""
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{repeated[0]!r} stands in it twice")


def bank_of(content: Any) -> BankFile:
    """Raises ValueError for what is missing, unknown, or no text."""
    if not isinstance(content, Mapping):
        raise ValueError("it is empty" if content is None else f"it holds {shown(content)}")
    if unknown := [key for key in content if key not in FIELDS]:
        raise ValueError(f"it has the key {shown(unknown[0])}")
    if "general" not in content:
        raise ValueError("`general` is missing")
    kinds = content.get("kinds", {})
    if not isinstance(kinds, Mapping):
        raise ValueError(f"`kinds` is {shown(kinds)}")
    if odd := [key for key in kinds if not isinstance(key, str) or not key.strip()]:
        raise ValueError(f"`kinds` has the key {shown(odd[0])}, which is no name; quote it")
    return BankFile(
        text_of("general", content["general"]),
        {kind: text_of(f"kinds.{kind}", said) for kind, said in kinds.items()},
    )


def text_of(where: str, said: Any) -> str:
    """A text for each line. Raises ValueError for what is no text, and for a blank one."""
    listed = said if isinstance(said, list) else [said]
    if not listed:
        raise ValueError(f"`{where}` is an empty list")
    for each in listed:
        if not isinstance(each, str):
            raise ValueError(f"`{where}` has {shown(each)}, which is no text")
        if not each.strip():
            raise ValueError(f"`{where}` has a blank text")
    return "\n".join(" ".join(each.split()) for each in listed)


def check_usable(bank: BankFile) -> None:
    """Raises ValueError where a skill would fail the checks that all skills pass in a run."""
    for where, part in (("general", bank.general), *bank.kinds.items()):
        for text in {part, bank.skill_for(where)}:
            try:
                keep_valid(Reply(Skills(text, {})), (), 0)
            except AnalysisError as error:
                raise ValueError(f"the skill of {where!r} cannot be used: {error}") from error
