"""The key of an endpoint: where it is read, and how it is kept out of messages."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from opid_lightning.protocols import AnalystUnavailableError
from opid_lightning.servers.child_environment import withhold

OPENAI_URL = "https://api.openai.com/v1"
HIDDEN = "***"


@dataclass(frozen=True)
class Address:
    """An endpoint's URL. It is kept with a run's settings, so it may hold no secret."""

    url: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            is_good = False
        if not is_good or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(
                f"OpenAI.base_url is {self.place!r}; expected a URL like "
                "http://127.0.0.1:8000/v1, without a query, a name or a password, which would "
                "be kept with the run's settings: a key belongs in its environment variable."
            )

    @property
    def place(self) -> str:
        """The URL without what may be a secret in a wrong one."""
        return without_credentials(re.split("[?#]", self.url)[0])


@dataclass(frozen=True)
class Secret:
    """The key that is sent to prove who is asking, and must be shown nowhere."""

    key: str = field(repr=False)

    def hide(self, text: str) -> str:
        """The text with the key blotted out, in every form in which a message may quote it."""
        for written in ways_to_write(self.key) if self.key else ():
            text = text.replace(written, HIDDEN)
        return text


def read_key(address: Address, key_variable: str) -> Secret:
    """The key in the environment variable.

    Raises AnalystUnavailableError where it is missing or odd.
    """
    withhold(key_variable)
    key = os.environ.get(key_variable, "")
    if not key and address.url == OPENAI_URL:
        raise AnalystUnavailableError(
            f"The analyst OpenAI has no key for {address.place}: set the environment variable "
            f"{key_variable}, or set base_url to an endpoint that needs none."
        )
    if not re.fullmatch("[!-~]*", key):
        raise AnalystUnavailableError(
            f"The environment variable {key_variable} holds {len(key)} characters, among them "
            "blanks, line breaks or others that no key has. Set it to the key alone."
        )
    return Secret(key)


def ways_to_write(key: str) -> list[str]:
    """As it is, and in base64 behind 0, 1 or 2 other bytes, without what neighbours change."""
    codes = [base64.b64encode(bytes(shift) + key.encode()).decode() for shift in range(3)]
    return [key, *(code[4 if shift else 0 : -4] for shift, code in enumerate(codes) if key[8:])]


def without_credentials(url: str) -> str:
    """The URL without `user:password@`."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
