"""What a shopper can read: a goal's text, the text of a page, and what both say of a product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from opid_lightning.envs.webshop import pages
from opid_lightning.types import Observation

_LIMIT = re.compile(r",? and price lower than ([\d.]+) dollars$")
_WORD = re.compile(r"[a-z0-9]+(?:[.'][a-z0-9]+)*")
_AMOUNT = re.compile(r"\$([\d.]+)")
_SAID_OF_ALL = (
    "i i'm am a an and are as at be buy by can find for from get have i'd i've in is it like "
    "looking made me my need of on or pair set some that the them to want which will with would"
)
_STOP_WORDS = frozenset(_SAID_OF_ALL.split())


def words_of(text: str) -> tuple[str, ...]:
    """Each once, in order, without those that every wish has."""
    found = dict.fromkeys(_WORD.findall(text.lower()))
    return tuple(word for word in found if word not in _STOP_WORDS)


@dataclass(frozen=True)
class Request:
    """A goal as its text says it."""

    words: tuple[str, ...]  # of what is asked for, without options and limit
    options: Mapping[str, str]
    limit: float | None

    @property
    def query(self) -> str:
        """What to type into the search bar: the wish and the option values, no word twice."""
        values = words_of(" ".join(self.options.values()))
        return " ".join(dict.fromkeys(self.words + values))


def read_request(goal: str) -> Request:
    """Takes a goal apart into words, options and the highest price in dollars."""
    limit = _LIMIT.search(goal)
    rest = goal[: limit.start()] if limit else goal
    wish, options = rest, dict[str, str]()
    start = rest.rfind(" with ")
    while start >= 0 and not options:
        parts = [part.split(": ", 1) for part in rest[start + 6 :].split(", and ")]
        if all(len(part) == 2 for part in parts):
            wish, options = rest[:start], {name.strip(): value for name, value in parts}
        start = rest.rfind(" with ", 0, start)
    return Request(words_of(wish), options, float(limit[1]) if limit else None)


@dataclass(frozen=True)
class Listing:
    """A product among the results."""

    id: str
    title: str
    price: float  # the lower end of a range

    @property
    def command(self) -> str:
        """The click that opens the product."""
        return f"click[{self.id.lower()}]"


@dataclass(frozen=True)
class Results:
    """A page of them."""

    number: int
    listings: tuple[Listing, ...]
    has_next: bool


@dataclass(frozen=True)
class Item:
    """A product's own page."""

    title: str
    price: float
    options: Mapping[str, tuple[str, ...]]


def read_results(observation: Observation) -> Results | None:
    """None where the page is another."""
    texts = observation.text.split(pages.SEPARATOR)
    if len(texts) < 2 or not (number := re.match(r"Page (\d+) ", texts[1])):
        return None
    shown = [text for text in texts[2:] if text not in (pages.NEXT, pages.PREVIOUS)]
    listings = tuple(
        Listing(shown[i], shown[i + 1], lowest_price(shown[i + 2]))
        for i in range(0, len(shown) - 2, 3)
    )
    return Results(int(number[1]), listings, pages.NEXT in texts)


def read_item(observation: Observation) -> Item | None:
    """None where the page is another."""
    if f"click[{pages.BUY.lower()}]" not in observation.admissible:
        return None
    texts = observation.text.split(pages.SEPARATOR)
    end = max(i for i, text in enumerate(texts) if text.startswith("Price: "))
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for text in texts[2 : end - 1]:
        if name and f"click[{text.lower()}]" in observation.admissible:
            options[name] += (text,)
        else:
            name = text
            options[name] = ()
    return Item(texts[end - 1], lowest_price(texts[end]), options)


def read_about(observation: Observation) -> str:
    """What a page of features, or the like, says."""
    texts = observation.text.split(pages.SEPARATOR)
    return " ".join(text for text in texts if text not in pages.BUTTONS)


def lowest_price(tag: str) -> float:
    """The first amount in a price tag, in dollars; 0 where there is none."""
    amount = _AMOUNT.search(tag)
    return float(amount[1]) if amount else 0.0


@dataclass
class Known:
    """What has been learned of a product."""

    listing: Listing
    page_number: int
    item: Item | None = None  # once it was opened
    features: str | None = None  # once they were read

    def lacking(self, request: Request) -> tuple[str, ...]:
        """Words of the request that nothing read so far says."""
        said = {_stem(word) for word in words_of(f"{self.listing.title} {self.features or ''}")}
        return tuple(word for word in request.words if _stem(word) not in said)

    def missing_options(self, request: Request) -> tuple[str, ...]:
        """The option values that are asked for and that the product does not offer."""
        has = self.item.options if self.item else {}
        return tuple(
            value for name, value in request.options.items() if value not in has.get(name, ())
        )

    def regret(self, request: Request) -> tuple[int, int, int]:
        """What would be wrong with buying it."""
        too_dear = request.limit is not None and self.listing.price > request.limit
        return len(self.missing_options(request)), int(too_dear), len(self.lacking(request))

    def is_enough(self, request: Request, share: float) -> bool:
        """Whether it has the options, and so much of what was asked for is said of it."""
        missing, too_dear, lacking = self.regret(request)
        return not missing and not too_dear and lacking <= (1 - share) * len(request.words)


def _stem(word: str) -> str:
    return word.removesuffix("s")
