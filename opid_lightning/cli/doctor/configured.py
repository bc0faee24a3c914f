"""The configuration that is checked, if one is named."""

from __future__ import annotations

import shlex
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from io import StringIO

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.config.trust import Trust
from opid_lightning.cli.doctor.findings import Finding, State, python
from opid_lightning.cli.doctor.parts import Parts
from opid_lightning.cli.errors import UsageError


def configured(arguments: Arguments) -> tuple[Parts, tuple[Finding, ...]]:
    """What is to be looked at; raises UsageError for what `fit` would refuse as typed."""
    if not (arguments.conf or arguments.config or arguments.settings or arguments.removed):
        return Parts(), ()
    try:
        from opid_lightning.cli.config.configuration import configure
    except ImportError as error:  # of Hydra, which is among the packages that are checked
        found = f"cannot be read, so that everything is checked: {error}"
        return Parts(), (Finding("configuration", State.BROKEN, found),)
    parts = Parts(configure(arguments).resolved(), Trust.of(arguments))
    return parts, (try_fit(arguments),)


def try_fit(arguments: Arguments) -> Finding:
    """Composes the configuration as `fit` would, in a process of its own."""
    typed, problem = typed_again(arguments), problem_of_fit(arguments)
    if not problem:
        return Finding("configuration", State.OK, f"{' '.join(typed)} is understood")
    words = shlex.join(["-m", "opid_lightning", "fit", *typed, "--print_config"])
    fix = f"{python()} {words}  # says more; what is missing is listed below"
    return Finding("configuration", State.BROKEN, f"fit fails to read it: {problem}", fix)


def problem_of_fit(arguments: Arguments) -> str:
    """Empty where `fit` can read all settings; raises UsageError for one that it refuses.

    Reading them imports Lightning and what it imports in turn, which may fail.
    """
    try:
        with redirect_stdout(StringIO()):
            fit = import_module("opid_lightning.cli.verbs.training").run
            fit(replace(arguments, verb="fit", flags=("--print_config",)))
    except UsageError:
        raise
    except SystemExit as end:  # once it has printed them
        return f"ended with code {end.code}" if end.code else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def typed_again(arguments: Arguments) -> list[str]:
    """The words by which the same configuration can be typed again."""
    whole = [f"conf={arguments.conf}"] if arguments.conf else []
    if arguments.config:
        whole = ["--config", arguments.config]
    settings = [setting.typed for setting in arguments.settings]
    return [*whole, *settings, *(f"~{key}" for key in arguments.removed)]
