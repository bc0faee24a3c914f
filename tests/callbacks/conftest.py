"""The fixture that begins a run, for all tests of analyses."""

from tests.callbacks.analyses import begin

__all__ = ["begin"]
