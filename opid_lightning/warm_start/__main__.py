"""python -m opid_lightning.warm_start alfworld --out FOLDER: remakes a policy that ships."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from opid_lightning.warm_start.alfworld import ALFWorldDemonstrations
from opid_lightning.warm_start.search import SearchDemonstrations
from opid_lightning.warm_start.training import WarmStart
from opid_lightning.warm_start.webshop import WebShopDemonstrations

SOURCES = {
    "alfworld": ALFWorldDemonstrations,
    "webshop": WebShopDemonstrations,
    "search": SearchDemonstrations,
}


def parse(arguments: Sequence[str] | None = None) -> WarmStart:
    """The warm start that the command line asks for; exits with status 2 where it is wrong."""
    parser = ArgumentParser(prog="python -m opid_lightning.warm_start", description=__doc__)
    commands = parser.add_subcommands(dest="environment")
    for name, source in SOURCES.items():
        command = ArgumentParser(description=WarmStart.__doc__)
        command.add_class_arguments(source, "source", help=f"what is taught: {source.__doc__}")
        command.add_class_arguments(WarmStart, skip={"source"})
        commands.add_subcommand(name, command)
    given = parser.instantiate_classes(parser.parse_args(arguments))
    return WarmStart(**given[given.environment].as_dict())


if __name__ == "__main__":
    parse()()
