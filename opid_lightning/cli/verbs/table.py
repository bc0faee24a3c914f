"""The verbs: which there are, and who does them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from opid_lightning.cli.config.arguments import Arguments, parse
from opid_lightning.cli.config.choices import configurations, groups
from opid_lightning.cli.config.suggestions import typed_for
from opid_lightning.cli.errors import UsageError, is_for_the_user, nearest
from opid_lightning.cli.exits import own_exit
from opid_lightning.cli.interruption import INTERRUPTION, Interrupted
from opid_lightning.cli.machine import said_of_machine


@dataclass(frozen=True)
class Verb:
    """What a verb does, and `module:function`, imported when the verb is used.

    Lightning takes seconds to import, which `--help` and typing errors need not wait for.
    """

    summary: str
    entry: str
    inputs: tuple[str, ...] = ()  # settings of the verb itself, which no configuration holds

    def __call__(self, arguments: Arguments) -> int:
        """The exit code."""
        module, function = self.entry.split(":")
        code: int | None = getattr(importlib.import_module(module), function)(arguments)
        return code or 0


TRAINING = "opid_lightning.cli.verbs.training:run"
PLAYING = "opid_lightning.cli.verbs.playing:run"
RETRIEVER_INPUTS = (
    "corpus", "host", "port", "topk", "cache", "dense", "query_prefix", "passage_prefix"
)  # fmt: skip
VERBS = {
    "fit": Verb("train", TRAINING),
    "validate": Verb("play the validation tasks once", TRAINING),
    "test": Verb("play the test tasks once", TRAINING),
    "predict": Verb("play the validation tasks once, with no figures", TRAINING),
    "play": Verb(
        "list games, or play one; text at a terminal, JSON lines in a pipe",
        PLAYING,
        ("game", "commands"),
    ),
    "export": Verb(
        "writes a checkpoint's policy to a folder in Hugging Face format",
        "opid_lightning.cli.verbs.exporting:run",
        ("ckpt_path", "out"),
    ),
    "retriever": Verb(
        "serve passages to env=search, as Search-R1's retriever does",
        "opid_lightning.cli.verbs.retrieving:run",
        RETRIEVER_INPUTS,
    ),
    "doctor": Verb("what this machine lacks for a configuration", "opid_lightning.cli.doctor:run"),
}


def main(typed: Sequence[str]) -> int:
    """Runs what was typed; 2 where it cannot be run as typed, 128 + n where signal n ended it."""
    with INTERRUPTION.listening():
        try:
            return perform(typed)
        except Interrupted as end:
            INTERRUPTION.tell(end.number)
            return 128 + end.number


def perform(typed: Sequence[str]) -> int:
    """Runs one verb and returns the exit status: 0, or 2 after a message for the user."""
    if not typed or typed[0] in ("-h", "--help"):
        print(overview())
        return 0
    try:
        verb = VERBS.get(typed[0])
        if verb is None:
            raise UsageError(f"There is no verb {typed[0]!r}. {verb_for(typed[0])}")
        arguments = parse(typed[0], typed[1:], verb.inputs)
        if arguments.is_dry and verb.entry != TRAINING:
            raise UsageError(f"--dry-run is for fit, validate, test and predict, not {typed[0]}.")
        return verb(arguments)
    except UsageError as error:
        return complain(error)
    except Exception as error:
        if isinstance(error, ValueError) and is_for_the_user(error):
            return complain(error)
        if (said := said_of_machine(error, INTERRUPTION.kept())) is None:
            raise
        return complain(UsageError(said))
    except SystemExit as error:
        if not (said := own_exit(error)):
            raise
        return complain(UsageError(said))


def verb_for(word: str) -> str:
    """What to type first instead."""
    setting = word if "=" in word else typed_for(word)
    return f"Did you mean fit {setting}?" if setting else nearest(word, VERBS)


def complain(error: Exception) -> int:
    """Prints the error as one message to stderr and returns the exit status 2."""
    print(f"opid_lightning: {error}", file=sys.stderr)
    return 2


def overview() -> str:
    """The text of --help: verbs, configurations, groups and the syntax of settings."""
    verbs = "\n".join(f"  {name:<9} {verb.summary}" for name, verb in VERBS.items())
    choices = "\n".join(f"  {group}={'|'.join(names)}" for group, names in groups().items())
    return f"""\
usage: python -m opid_lightning VERB conf=NAME [GROUP=CHOICE] [SETTING=VALUE] [~SETTING]

verbs
{verbs}

configurations
  conf={"|".join(configurations())}, or the path of your own YAML file

groups of choices
{choices}
  model=PATH_OR_HUB_NAME for any model that transformers loads

settings, as a.b=c or --a.b=c
  trainer.max_epochs=3        iterations; trainer.* are those of Lightning's Trainer
  rollout.group_size=4        also env, sampler, analyst, routing, batching, advantage, loss,
                              policy, optimizer, evaluation, workers, callbacks, logger
  --trust                     lets doctor and --print_config import what a file names
  seed_everything=1           ckpt_path=last         ~callbacks.skill_extraction

python -m opid_lightning fit --help               all settings with their types
python -m opid_lightning fit conf=NAME --print_config   what would run
python -m opid_lightning fit conf=NAME --dry-run        whether it would, without playing
python -m opid_lightning fit --config FILE        repeats the run that saved FILE
"""
