"""What of a configuration may be imported while it is only looked at.

A file of settings names classes, and importing one runs its module. `doctor` and `--print_config`
are what a stranger's folder is looked at with, so they import from elsewhere only what was typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from opid_lightning.cli.config.arguments import Arguments

TRUSTED = ("lightning", "opid_lightning", "torch", "transformers")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Trust:
    """Of one call: everything with `--trust`, else the packages above and what was typed."""

    everything: bool = False
    typed: frozenset[str] = frozenset()

    @staticmethod
    def of(arguments: Arguments) -> Trust:
        """Trusts the words that were typed on the command line, and everything with --trust."""
        words = {
            word for s in arguments.settings for word in re.findall(r"[^\s'\"{}\[\],]+", s.text)
        }
        return Trust(arguments.trusts, frozenset(words))

    def covers(self, path: str) -> bool:
        """Whether `package.Name` may be imported."""
        return self.everything or re.split("[.:]", path)[0] in TRUSTED or path in self.typed

    def covers_url(self, url: str) -> bool:
        """Whether a key may be sent there."""
        return self.everything or urlsplit(url).hostname in LOOPBACK or url in self.typed


EVERYTHING = Trust(everything=True)
