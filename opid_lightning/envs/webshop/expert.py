"""An expert that shops by what it reads: it searches, opens what looks right, compares, and buys.

It knows the goal's text and the pages it was shown, and nothing else of the catalogue.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from opid_lightning.envs.webshop import pages
from opid_lightning.envs.webshop.reading import (
    Item,
    Listing,
    Request,
    Results,
    read_about,
    read_item,
    read_request,
    read_results,
    words_of,
)
from opid_lightning.types import Observation

BACK = f"click[{pages.PREVIOUS.lower()}]"
NEXT = f"click[{pages.NEXT.lower()}]"
BUY = f"click[{pages.BUY.lower()}]"
FEATURES = f"click[{pages.FEATURES.lower()}]"

_TO_ANOTHER = 2  # steps: back, open it


@dataclass(frozen=True)
class Decision:
    """What to do next, and in a few words why."""

    thought: str
    command: str


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


@dataclass
class ReadingExpert:
    """Plays one episode: tell it each observation, ask it for each decision."""

    request: Request
    rng: random.Random  # breaks ties between results that look equally good
    max_steps: int = 15
    max_pages: int = 3  # of results it leafs through
    enough: float = 1.0  # share of the wish's words that have to be said of a product

    known: dict[str, Known] = field(default_factory=dict)  # by product id, in order of results
    here: Known | None = None  # whose page is open
    results: Results | None = None  # if they are open
    chosen: set[str] = field(default_factory=set)  # option names of the product that is open
    num_steps: int = 0
    is_at_features: bool = False
    settled: Known | None = None  # to be bought, whatever it lacks

    @classmethod
    def of(
        cls, goal: str, rng: random.Random, max_steps: int = 15, enough: float = 1.0
    ) -> ReadingExpert:
        return cls(read_request(goal), rng, max_steps, enough=enough)

    # ---------------------------------------------------------------- what is known

    def see(self, command: str | None, observation: Observation) -> None:
        """The first observation comes without a command."""
        self.num_steps += command is not None
        self.results = read_results(observation)
        item = read_item(observation)
        if self.results is not None:
            self.here, self.chosen = None, set()
            for listing in self.results.listings:
                self.known.setdefault(listing.id, Known(listing, self.results.number))
        elif item is not None:
            self._see_item(command or "", item)
        elif self.here is not None:
            self.here.features, self.is_at_features = read_about(observation), True

    def _see_item(self, command: str, item: Item) -> None:
        self.is_at_features = False
        opened = [known for known in self.known.values() if known.listing.command == command]
        if self.here is None and opened:
            self.here = opened[0]
            self.here.item = item

    # ---------------------------------------------------------------- what is done

    def decide(self) -> Decision:
        if self.is_at_features and self.here is not None:
            lacking = self.here.lacking(self.request)
            return Decision(f"lacks {lacking[0]}" if lacking else "all there", BACK)
        if self.here is not None and self.here.item is not None:
            return self._at_item(self.here, self.here.item)
        if self.results is not None:
            return self._at_results(self.results)
        return Decision("what is asked for: search", f"search[{self.request.query}]")

    def _at_item(self, here: Known, item: Item) -> Decision:
        if here is self._to_buy():
            return self._buy(item)
        if missing := here.missing_options(self.request):
            return Decision(f"no {missing[0]}: back", BACK)
        lacking = here.lacking(self.request)
        if not lacking or self.settled is not None:
            return Decision("another is better: back", BACK)
        if here.features is None:
            return Decision(f"{lacking[0]} is not said: features", FEATURES)
        return Decision(f"lacks {lacking[0]}: back", BACK)

    def _buy(self, item: Item) -> Decision:
        for name, value in self.request.options.items():
            if name not in self.chosen and value in item.options.get(name, ()):
                self.chosen.add(name)
                return Decision(f"{name}: {value}", f"click[{value}]")
        return Decision("all chosen: buy", BUY)

    def _at_results(self, results: Results) -> Decision:
        wanted = self._to_buy()
        if wanted is None:
            candidate = self._most_promising(results)
            if candidate is not None:
                return Decision(f"{candidate.listing.id}: open", candidate.listing.command)
            if results.has_next and results.number < self.max_pages:
                return Decision("nothing new here: next", NEXT)
            self.settled = wanted = self._best()
        return self._go_to(wanted, results)

    def _go_to(self, wanted: Known, results: Results) -> Decision:
        thought = f"{wanted.listing.id} is best"
        if wanted.page_number == results.number:
            return Decision(f"{thought}: open", wanted.listing.command)
        forward = wanted.page_number > results.number
        return Decision(f"{thought}: page", NEXT if forward else BACK)

    def _most_promising(self, results: Results) -> Known | None:
        """Of those on this page that were not opened; the more is said in the title, the better."""
        unseen = [
            known
            for listing in results.listings
            if (known := self.known[listing.id]).item is None
            and (self.request.limit is None or listing.price <= self.request.limit)
        ]
        ranked = {id(known): rank for rank, known in enumerate(unseen)}
        return min(
            unseen,
            key=lambda known: (len(known.lacking(self.request)), ranked[id(known)]),
            default=None,
        )

    def _to_buy(self) -> Known | None:
        """A product that has all that is asked for; else the one at hand, once time runs out.

        One that was looked at and found wanting is not worth the way back while there is time
        for one that may be right.
        """
        if self.settled is None and self.here is not None:
            to_buy = len(self.request.options) + 1
            is_late = self.max_steps - self.num_steps < to_buy + _TO_ANOTHER
            if is_late or self.here.is_enough(self.request, self.enough):
                self.settled = self.here
        return self.settled

    def _best(self) -> Known:
        """Of those that were opened, if any were."""
        opened = [known for known in self.known.values() if known.item is not None]
        return min(opened or self.known.values(), key=lambda known: known.regret(self.request))
