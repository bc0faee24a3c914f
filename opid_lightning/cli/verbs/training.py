"""`fit`, `validate`, `test` and `predict`: Lightning CLI on a composed configuration."""

from __future__ import annotations

import os
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from opid_lightning.cli.imports import import_lightning, quieten_libraries

import_lightning()

import lightning
from jsonargparse import Namespace, set_dumper
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.config.configuration import Configuration, configure
from opid_lightning.cli.config.explanation import explain, explain_trainer, locate_mentioned
from opid_lightning.cli.config.fitting import fitted
from opid_lightning.cli.config.foreign import check_foreign
from opid_lightning.cli.config.names import place_of, to_places
from opid_lightning.cli.config.stages import accept_subclasses, with_stages
from opid_lightning.cli.config.typed_values import dumped
from opid_lightning.cli.config.validation import check_names
from opid_lightning.cli.errors import UsageError, own_error
from opid_lightning.cli.folders import Placement, kept_of, place
from opid_lightning.cli.interruption import INTERRUPTION
from opid_lightning.cli.launch import check_folder_is_named, is_first_process
from opid_lightning.cli.run_lock import claimed
from opid_lightning.cli.saving import SaveConfig
from opid_lightning.cli.starting import (
    FirstAttempt,
    check_start,
    check_writable,
    leaving_nothing,
)
from opid_lightning.cli.trainer_parts import (
    OF_TRAINERS,
    made_loggers,
    refuse_twins,
    with_checkpoint_files,
)
from opid_lightning.cli.trainer_signals import answer_signals
from opid_lightning.cli.trainer_switches import check_switches
from opid_lightning.cli.verbs.dry_run import HEADING, DryRunEndedError, DryRunTrainer
from opid_lightning.cli.verbs.results import attempts_in, results_table
from opid_lightning.training.checkpoints.shard_folders import check_reads
from opid_lightning.training.datamodule import RolloutDataModule
from opid_lightning.training.module import OPIDModule

# Processes that Lightning starts for further devices read the same command line later, and must
# not choose another folder by the time of day.
FOLDER_OF_THE_FIRST_PROCESS = "OPID_LIGHTNING_RUN_FOLDER"
CHECKPOINT_OF_THE_FIRST_PROCESS = "OPID_LIGHTNING_CHECKPOINT"


def run(arguments: Arguments) -> None:
    """Runs the verb; raises UsageError for what cannot be run as typed."""
    quieten_libraries()
    if arguments.wants_help:
        OPIDCLI(arguments, Configuration("", {}, (), ()))
    configuration = configure(arguments)
    refuse_lost_settings(arguments, configuration)
    if configuration.note:
        rank_zero_info(configuration.note)
    first_attempt = FirstAttempt()
    with ExitStack() as stack:
        placement = stack.enter_context(chosen_place(arguments, configuration))
        folder = placement.folder
        configuration.tree["ckpt_path"] = placement.checkpoint
        if placement.note:
            rank_zero_info(placement.note)
        if arguments.is_dry:
            check_writable(folder, "trainer.default_root_dir")
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="opid_lightning-dry-")))
        configuration.tree.setdefault("trainer", {})["default_root_dir"] = str(folder)
        INTERRUPTION.is_silent = not is_first_process()
        if not arguments.is_dry:
            INTERRUPTION.kept = lambda: kept_of(arguments.verb, folder)
        stack.enter_context(leaving_nothing(folder, first_attempt))
        OPIDCLI(arguments, configuration, first_attempt)


def chosen_place(
    arguments: Arguments, configuration: Configuration
) -> AbstractContextManager[Placement]:
    """Held by the first of a run's processes, where anything is written at all."""

    def find() -> Placement:
        return placement_of(arguments, configuration).absolute()

    writes_nothing = arguments.only_looks or arguments.is_dry or not is_first_process()
    return nullcontext(find()) if writes_nothing else claimed(find)


def placement_of(arguments: Arguments, configuration: Configuration) -> Placement:
    """The run's folder and checkpoint; processes that were launched take those of the first."""
    tree = configuration.resolved()
    checkpoint = configuration.text("ckpt_path", tree)
    folder = os.environ.get(FOLDER_OF_THE_FIRST_PROCESS)
    if folder and int(os.environ.get("LOCAL_RANK", 0)) > 0:
        return Placement(Path(folder), os.environ[CHECKPOINT_OF_THE_FIRST_PROCESS] or None)
    asked = recorded = configuration.text("trainer.default_root_dir", tree)
    if arguments.config is not None:
        asked = arguments.setting("trainer.default_root_dir")
    else:
        recorded = None
    if arguments.verb == "fit" and checkpoint != "last":
        num_nodes = (tree.get("trainer") or {}).get("num_nodes", 1)
        # Of another type it is refused with the settings of all others.
        check_folder_is_named(asked, num_nodes if isinstance(num_nodes, int) else 1)
    return place(arguments.verb, configuration.name, asked, checkpoint, recorded)


def refuse_lost_settings(arguments: Arguments, configuration: Configuration) -> None:
    """The analyst lives in a callback; where that is removed, nobody would read its settings."""
    if "skill_extraction" in (configuration.tree.get("callbacks") or {}):
        return
    for setting in arguments.settings:
        if setting.key.split(".")[0] == "analyst":
            raise UsageError(
                f"{setting.typed} sets up the analyst, but callbacks.skill_extraction, which "
                "calls it, is not there."
            )


class OPIDCLI(LightningCLI):
    """Lightning CLI with callbacks and loggers by name, and with messages of our own."""

    def __init__(
        self,
        arguments: Arguments,
        configuration: Configuration,
        first_attempt: FirstAttempt | None = None,
    ) -> None:
        self.arguments = arguments
        self.first_attempt = first_attempt or FirstAttempt()
        self.configuration = configuration
        set_dumper("yaml", dumped)
        accept_subclasses()
        strict = {"allow_abbrev": False, "exit_on_error": False}
        super().__init__(
            OPIDModule,
            RolloutDataModule,
            trainer_class=DryRunTrainer if arguments.is_dry else lightning.Trainer,
            save_config_callback=None if arguments.is_dry else SaveConfig,
            # Of a run that was killed before its first checkpoint.
            save_config_kwargs={
                "overwrite": configuration.tree.get("ckpt_path") is None,
                "save_to_log_dir": False,
            },
            parser_kwargs={**strict, **{verb: dict(strict) for verb in self.subcommands()}},
            auto_configure_optimizers=False,
            # The run's config.yaml says how to build the module; checkpoints hold weights.
            load_from_checkpoint_support=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The verb that runs, alone: a parser of all settings takes long to make."""
        return {self.arguments.verb: LightningCLI.subcommands()[self.arguments.verb]}

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds --seed_everything, which also seeds the data module."""
        parser.add_argument(
            "--seed_everything", type=int, default=0, help="Decides everything that is random."
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds callbacks and loggers by name, and links seed and rule to where they are used."""
        parser.add_argument(
            "--callbacks",
            type=dict[str, lightning.Callback],
            default={},
            help="Callbacks by a name of your choice.",
        )
        parser.add_argument(
            "--logger",
            type=dict[str, Callable[[str], Logger]],
            default={},
            help="Loggers by a name of your choice; each is given the run's folder.",
        )
        parser.link_arguments("seed_everything", "data.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Checks the composed configuration and parses it.

        Raises UsageError in the user's own words.
        """
        verb = self.arguments.verb
        if self.arguments.wants_help:
            parser.parse_args([verb, *self.arguments.flags, "--help"])
        placed = to_places(with_stages(self.configuration.resolved()))
        if verb in ("validate", "test"):
            placed.setdefault("verbose", False)  # Lightning's table; `print_results` has our own
        if said := check_foreign(self.arguments, self.configuration, placed, self._parser(verb)):
            rank_zero_info(said)
        check_names(self.configuration, placed, self._parser(verb))
        placed = fitted(self.configuration, placed, self._parser(verb), place_of)
        text = dumped(placed)
        try:
            self.config = parser.parse_args([verb, "--config", text, *self.arguments.flags])
        except ArgumentError as error:
            raise UsageError(explain(str(error), self.configuration, placed)) from error
        given = self.config[verb]
        check_start(given, self.configuration)

    def _parse_ckpt_path(self) -> None:
        """Lightning would replace model.* by the checkpoint's; what was typed must win."""

    def before_instantiate_classes(self) -> None:
        """Tells processes that Lightning launches which folder and checkpoint are this run's."""
        folder = self._get(self.config, "trainer")["default_root_dir"]
        os.environ[FOLDER_OF_THE_FIRST_PROCESS] = folder
        os.environ[CHECKPOINT_OF_THE_FIRST_PROCESS] = self._get(self.config, "ckpt_path") or ""

    def _run_subcommand(self, subcommand: str) -> None:
        self._check_checkpoint(subcommand)
        with warnings.catch_warnings(), self._locating():
            # Of ModelCheckpoint: an evaluation, or a branch of a run, has a folder of its own.
            warnings.filterwarnings("ignore", "The dirpath has changed")
            try:
                super()._run_subcommand(subcommand)
            except DryRunEndedError as end:
                if self.trainer.is_global_zero:
                    print("\n".join([HEADING.format(verb=subcommand), *end.lines]))

    @contextmanager
    def _locating(self) -> Iterator[None]:
        """Adds to messages for the user where the setting that they are about was made."""
        try:
            yield
        except (ValueError, MisconfigurationException) as error:
            found = own_error(error) if isinstance(error, ValueError) else error
            if found is None:
                raise
            raise UsageError(locate_mentioned(str(found), self.configuration)) from error

    def _check_checkpoint(self, subcommand: str) -> None:
        checkpoint = self.config_init[subcommand].get("ckpt_path")
        try:
            check_reads(self.trainer.strategy, checkpoint)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def after_validate(self) -> None:
        """Prints success rates of the evaluated splits."""
        self.print_results()

    def after_test(self) -> None:
        """Prints success rates of the evaluated splits."""
        self.print_results()

    def after_predict(self) -> None:
        """Prints each attempt that was played, and where its steps are."""
        if self.trainer.is_global_zero:
            print(attempts_in(self.trainer.default_root_dir, self.datamodule.evaluation_sets))

    def print_results(self) -> None:
        """The table of the evaluation that has just been made."""
        if self.trainer.is_global_zero:
            data, result = self.datamodule, self.model.evaluation_result
            print(results_table(result, data.evaluation_sets, data.evaluation))

    def instantiate_classes(self) -> None:
        """Builds trainer, module and data; raises UsageError where a package is missing."""
        with self._locating():
            try:
                super().instantiate_classes()
            except ImportError as error:
                raise UsageError(f"{error}: what is configured needs it.") from error

    def instantiate_trainer(self, **kwargs: Any) -> lightning.Trainer:
        """Builds the trainer; what Lightning refuses becomes a UsageError about the setting."""
        built: Namespace = self.config_init[self.subcommand]
        refuse_twins(built["callbacks"])
        check_switches(self.configuration, built["trainer"], built["callbacks"])
        folder = built["trainer"]["default_root_dir"]
        loggers = made_loggers(built["logger"], folder, self.configuration)
        try:
            trainer = super().instantiate_trainer(
                logger=False if self.arguments.is_dry else loggers or False,
                callbacks=[*built["callbacks"].values(), self.first_attempt],
                plugins=with_checkpoint_files(built["trainer"].get("plugins")),
                **kwargs,
            )
        except (*OF_TRAINERS, MisconfigurationException) as error:
            # It has no settings but those of the user.
            raise UsageError(explain_trainer(str(error), self.configuration)) from error
        answer_signals(trainer)
        return trainer
