"""An expert that shops by what it reads: it searches, opens what looks right, compares, and buys.

It knows the goal's text and the pages it was shown, and nothing else of the catalogue.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from opid_lightning.envs.webshop import pages
from opid_lightning.envs.webshop.reading import (
    Item,
    Known,
    Request,
    Results,
    read_about,
    read_item,
    read_request,
    read_results,
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
class ReadingExpert:
    """Plays one episode: tell it each observation, ask it for each decision."""

    request: Request
    rng: random.Random  # what it draws, where it wanders
    max_steps: int = 15
    max_pages: int = 3  # of results it leafs through
    enough: float = 1.0  # share of the wish's words that have to be said of a product
    wandering: float = 0.0  # chance to open any product instead of the most promising

    known: dict[str, Known] = field(default_factory=dict)  # by product id, in order of results
    here: Known | None = None  # whose page is open
    results: Results | None = None  # if they are open
    chosen: dict[str, str] = field(default_factory=dict)  # option values by name, of the item
    num_steps: int = 0
    is_about: bool = False  # a page about it is open: its features, or the like
    has_searched: bool = False  # by the last search, for what is asked for
    settled: Known | None = None  # to be bought, whatever it lacks

    @classmethod
    def of(
        cls, goal: str, rng: random.Random, max_steps: int = 15, enough: float = 1.0
    ) -> ReadingExpert:
        """An expert for a goal in words, content with a product that meets `enough` of it."""
        return cls(read_request(goal), rng, max_steps, enough=enough)

    # ---------------------------------------------------------------- what is known

    def see(self, command: str | None, observation: Observation) -> None:
        """The first observation comes without a command."""
        self.num_steps += command is not None
        if command is not None and command.startswith("search["):
            self.has_searched = command == self._search.command
        self.results = read_results(observation)
        item = read_item(observation)
        self.is_about = self.here is not None and item is None
        if self.results is not None or pages.QUERY in observation.admissible:
            self.here, self.chosen, self.is_about = None, {}, False
            if self.results is not None and self.has_searched:
                self._see_results(self.results)
        elif item is not None:
            self._see_item(command or "", item)
        elif self.here is not None and command == FEATURES:
            self.here.features = read_about(observation)

    def _see_results(self, results: Results) -> None:
        for listing in results.listings:
            self.known.setdefault(listing.id, Known(listing, results.number))

    def _see_item(self, command: str, item: Item) -> None:
        opened = [known for known in self.known.values() if known.listing.command == command]
        if self.here is None and opened:
            self.here = opened[0]
            self.here.item = item
        value = command.removeprefix("click[").removesuffix("]")
        if names := [name for name, values in item.options.items() if value in values]:
            self.chosen[names[-1]] = value

    # ---------------------------------------------------------------- what is done

    def decide(self) -> Decision:
        """The next command, with the thought behind it, from the page that is open."""
        if self.is_about and self.here is not None:
            lacking = self.here.lacking(self.request)
            return Decision(f"lacks {lacking[0]}" if lacking else "all there", BACK)
        if self.here is not None and self.here.item is not None:
            return self._at_item(self.here, self.here.item)
        if self.results is not None and self.has_searched:
            return self._at_results(self.results)
        return self._search

    @property
    def _search(self) -> Decision:
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
            if self.chosen.get(name) != value and value in item.options.get(name, ()):
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
        if wanted.listing in results.listings:
            return Decision(f"{thought}: open", wanted.listing.command)
        if wanted.page_number > results.number and results.has_next:
            return Decision(f"{thought}: page", NEXT)
        if wanted.page_number < results.number:
            return Decision(f"{thought}: page", BACK)
        return self._search

    def _most_promising(self, results: Results) -> Known | None:
        """Of those on this page that were not opened; the more is said in the title, the better.

        Of equally good ones the first: search has read what the title does not say.
        """
        unseen = [
            known
            for listing in results.listings
            if (known := self.known[listing.id]).item is None
            and (self.request.limit is None or listing.price <= self.request.limit)
        ]
        if unseen and self.wandering and self.rng.random() < self.wandering:
            return self.rng.choice(unseen)
        return min(unseen, key=lambda known: len(known.lacking(self.request)), default=None)

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
