"""The key of an endpoint: where it is read, and how it is kept out of messages."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from opid_lightning.protocols import AnalystUnavailableError

OPENAI_URL = "https://api.openai.com/v1"
HIDDEN = "***"


@dataclass(frozen=True)
class Address:
    """An endpoint's URL taken apart. What it shows is `place`."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            is_good = False
        if not is_good or parts.query or parts.fragment:
            shown = re.split("[?#]", self.place)[0]  # the rest may be a key
            raise ValueError(
                f"OpenAI.base_url is {shown!r}; expected a URL like http://127.0.0.1:8000/v1, "
                "without a query."
            )

    @property
    def place(self) -> str:
        """The URL without a user's name and password."""
        return without_credentials(self.url)

    @property
    def credentials(self) -> str:
        """`user:password`, or nothing."""
        return unquote(urlsplit(self.url).netloc.rpartition("@")[0])


@dataclass(frozen=True)
class Secrets:
    """What is sent to prove who is asking, and must be shown nowhere."""

    key: str = field(repr=False)
    credentials: str = field(repr=False, default="")

    @property
    def headers(self) -> dict[str, str]:
        """Instead of the key. HTTP clients would log a URL that has credentials."""
        if not self.credentials:
            return {}
        return {"Authorization": f"Basic {encoded(self.credentials)}"}

    def hide(self, text: str) -> str:
        """The text without any of them."""
        password = self.credentials.partition(":")[2]
        for secret in (self.key, encoded(self.credentials), self.credentials, password):
            if secret:
                text = text.replace(secret, HIDDEN)
        return text


def read_secrets(address: Address, key_variable: str) -> Secrets:
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
    return Secrets(key, address.credentials)


def encoded(credentials: str) -> str:
    return base64.b64encode(credentials.encode()).decode()


def without_credentials(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
