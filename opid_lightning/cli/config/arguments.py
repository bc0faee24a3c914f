"""Reading the command line into names and values, before anything is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opid_lightning.cli.config.suggestions import typed_for
from opid_lightning.cli.errors import UsageError

HELP = re.compile(r"-h|--help(=(?P<topic>.*))?")
FLAG = re.compile(r"--print_config(=.*)?|--[\w.]+\.help(=.*)?")  # for Lightning CLI
TRUST = "--trust"
DRY = ("--dry-run", "--dry_run", "--dryrun")
KEY = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")


@dataclass(frozen=True)
class Setting:
    """`key=text`, however it was typed: `key=text`, `--key=text`, `--key text`, `+key=text`."""

    key: str
    text: str
    typed_as: str = ""  # where it is only a part of what was typed

    @property
    def typed(self) -> str:
        """The setting as the user typed it, for messages."""
        return self.typed_as or f"{self.key}={self.text}"

    @property
    def value(self) -> Any:
        """The text as it reads where nothing is known of the setting.

        What cannot be read is a text: only the setting's type tells whether that is right.
        """
        from yaml import YAMLError

        from opid_lightning.cli.config.typed_values import read_plain

        try:
            return read_plain(self.text)
        except YAMLError:
            return self.text


@dataclass(frozen=True)
class Arguments:
    """What was typed after the verb."""

    verb: str
    conf: str | None = None  # name, or path of a YAML file
    config: str | None = None  # the saved configuration of an earlier run
    settings: tuple[Setting, ...] = ()
    removed: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    inputs: tuple[Setting, ...] = ()  # of the verb itself
    words: tuple[str, ...] = ()  # without a value, of verbs that take such
    help: str | None = None  # what it is wanted on: a group, "all", or "" for the verb
    trusts: bool = False  # `--trust`: whatever the configuration names may be imported
    is_dry: bool = False

    @property
    def wants_help(self) -> bool:
        """Whether -h, --help or Lightning's --CLASS.help was typed."""
        return self.help is not None or any(".help" in flag for flag in self.flags)

    @property
    def only_looks(self) -> bool:
        """Whether --print_config was typed, so that nothing runs."""
        return any(flag.startswith("--print_config") for flag in self.flags)

    def input(self, key: str) -> str | None:
        """The last value of one of the verb's own inputs, such as ckpt_path.

        None where not typed.
        """
        found = [setting.text for setting in self.inputs if setting.key == key]
        return found[-1] if found else None

    def setting(self, key: str) -> str | None:
        """The last value typed for a setting as text; None where not typed."""
        found = [setting.text for setting in self.settings if setting.key == key]
        return found[-1] if found else None


def parse(
    verb: str, typed: Sequence[str], inputs: Sequence[str] = (), takes_words: bool = False
) -> Arguments:
    """Sorts what was typed; raises UsageError for what is neither setting nor flag."""
    typed, topic = without_help(typed)
    settings: list[Setting] = []
    removed: list[str] = []
    flags: list[str] = []
    alone: list[str] = []
    words = iter(word for word in typed if word != TRUST)
    for word in words:
        if FLAG.fullmatch(word):
            flags.append(word)
        elif word in DRY:
            continue
        elif takes_words and is_word(word):
            alone.append(word)
        elif word.startswith("~"):
            removed.append(checked_key(word[1:], word))
        else:
            settings.append(setting_from(word, words))
    named = {setting.key: setting.text for setting in settings if setting.key in ("conf", "config")}
    if len(named) > 1:
        raise UsageError(
            f"Both conf={named['conf']} and --config {named['config']} name a whole configuration;"
            " give one of them."
        )
    return Arguments(
        verb,
        **named,
        settings=tuple(s for s in settings if s.key not in (*named, *inputs)),
        removed=tuple(removed),
        flags=tuple(flags),
        inputs=tuple(s for s in settings if s.key in inputs),
        words=tuple(alone),
        help=topic,
        trusts=TRUST in typed,
        is_dry=any(word in DRY for word in typed),
    )


def without_help(typed: Sequence[str]) -> tuple[list[str], str | None]:
    """The other words, and what help is wanted on: `--help=rollout` or `--help rollout`."""
    rest: list[str] = []
    topic: str | None = None
    words = list(typed)
    while words:
        word = words.pop(0)
        if found := HELP.fullmatch(word):
            is_followed = found["topic"] is None and words and is_word(words[0])
            topic = words.pop(0) if is_followed else found["topic"] or ""
        else:
            rest.append(word)
    return rest, topic


def is_word(text: str) -> bool:
    """Whether it is a plain word: no setting, flag or removal."""
    return "=" not in text and not text.startswith(("-", "~", "+"))


def setting_from(word: str, rest: Iterator[str]) -> Setting:
    """Reads `a.b=c`, `--a.b=c` or `--a.b c`; raises UsageError where there is no value."""
    name, equals, text = word.partition("=")
    is_option = name.startswith("-")
    if not equals:
        value = next(rest, None) if is_option else None
        if value is None and not is_option and (meant := typed_for(word)):
            raise UsageError(f"{word!r} has no value. Did you mean {meant}?")
        if value is None:
            raise UsageError(
                f"{word!r} has no value. Expected {word}=VALUE; a setting is typed as a.b=c or "
                "--a.b=c."
            )
        text = value
    key = "config" if name == "-c" else name.removeprefix("--") if is_option else name.lstrip("+")
    return Setting(checked_key(key, word), text)


def checked_key(key: str, word: str) -> str:
    """The key; raises UsageError where it is not a dotted name."""
    if not KEY.fullmatch(key):
        raise UsageError(f"{key!r} in {word!r} is not a name. Expected a.b=c, --a.b=c or ~a.b.")
    return key
