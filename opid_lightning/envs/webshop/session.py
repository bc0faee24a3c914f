"""A live visit to the shop: which page is open, and what an action does there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from opid_lightning.envs.webshop import pages
from opid_lightning.envs.webshop.goals import Goal
from opid_lightning.envs.webshop.pages import Page
from opid_lightning.envs.webshop.products.catalogue import Catalogue
from opid_lightning.envs.webshop.products.product import Product
from opid_lightning.envs.webshop.reward import Score
from opid_lightning.types import Observation, Opening, Task

Tabs = dict[str, str]
_TABS: Tabs = {
    tab.lower(): tab for tab in (pages.DESCRIPTION, pages.FEATURES, pages.REVIEWS, pages.ATTRIBUTES)
}

_STEPS = {pages.NEXT.lower(): 1, pages.PREVIOUS.lower(): -1}  # from page to page


def parse_action(action: str) -> tuple[str, str]:
    """`name[argument]`: up to the last bracket that opens, and the last that closes.

    Of the first line alone; blank where there is no such thing. As the original's `(.+)\\[(.+)\\]`,
    but in linear time.
    """
    line = action.split("\n", 1)[0]
    closing = line.rfind("]")
    opening = line.rfind("[", 0, max(closing - 1, 0))
    return (line[:opening], line[opening + 1 : closing]) if opening > 0 else ("", "")


@dataclass
class Visit:
    """What has been done since the shop was entered, or the search page was opened again."""

    query: str = ""
    page_number: int = 1
    product: Product | None = None
    tab: str | None = None
    part: int = 1  # of the tab
    chosen: dict[str, str] = field(default_factory=dict)  # option values by name


class WebShopSession:
    """Plays one goal at a time."""

    def __init__(
        self,
        catalogue: Catalogue,
        goal_of: Callable[[Task], Goal],
        judge: Callable[[Goal, Product, dict[str, str]], Score],
        reward_of: Callable[[float], float],
        per_page: int,
        shows_attributes: bool,
        page_characters: int | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._goal_of = goal_of
        self._judge = judge
        self._reward_of = reward_of
        self._per_page = per_page
        self._shows_attributes = shows_attributes
        self._page_characters = page_characters
        self._page: Page = pages.SEARCH_PAGE

    def reset(self, task: Task) -> Opening:
        """Opens the shop's first page with the goal of the task."""
        self._goal = self._goal_of(task)
        self.score: Score | None = None  # once something was bought
        self._enter()
        return Opening(self._goal.text, self._observation())

    def step(self, action: str) -> Observation:
        """An action that is not possible changes nothing; a search is possible anywhere."""
        name, argument = parse_action(action)
        argument = argument.lower()
        if self.score is not None:
            return replace(self._observation(), reward=0.0)
        if name == "search" and argument:
            self._visit = Visit(argument)
            self._show_results()
        elif name == "click" and f"click[{argument}]" in self._page.admissible:
            self._click(argument)
        return self._observation()

    def close(self) -> None:
        """Holds nothing to close: the catalogue serves other sessions too."""

    def _click(self, target: str) -> None:
        visit, product = self._visit, self._visit.product
        if product is None:
            self._click_result(target)
        elif target == pages.BACK.lower():
            self._enter()
        elif target == pages.PREVIOUS.lower() and visit.tab is None:
            self._visit = Visit(visit.query, visit.page_number)
            self._show_results()
        elif target == pages.PREVIOUS.lower() and visit.part == 1:
            self._show_item(product)
        elif target in (pages.NEXT.lower(), pages.PREVIOUS.lower()) and visit.tab is not None:
            self._show_about(product, visit.tab, visit.part + _STEPS[target])
        elif target == pages.BUY.lower():
            self._buy(product)
        elif target in _TABS:
            self._show_about(product, _TABS[target], part=1)
        else:
            self._choose(product, target)

    def _click_result(self, target: str) -> None:
        if target == pages.BACK.lower():
            self._enter()
        elif target in (pages.NEXT.lower(), pages.PREVIOUS.lower()):
            self._visit.page_number += _STEPS[target]
            self._show_results()
        else:
            self._show_item(next(p for p in self._results() if p.id.lower() == target))

    def _choose(self, product: Product, value: str) -> None:
        """Where two options have this value, the later one is meant, as in the original."""
        names = [name for name, values in product.options.items() if value in values]
        self._visit.chosen[names[-1]] = value

    def _buy(self, product: Product) -> None:
        self.score = self._judge(self._goal, product, self._visit.chosen)
        self._page = pages.done_page(self.score.value)

    def _enter(self) -> None:
        self._visit = Visit()
        self._page = pages.SEARCH_PAGE

    def _results(self) -> list[Product]:
        start = (self._visit.page_number - 1) * self._per_page
        found = self._catalogue.search(self._visit.query)[start : start + self._per_page]
        return [self._catalogue.products.get(product_id) for product_id in found]

    def _show_results(self) -> None:
        total = len(self._catalogue.search(self._visit.query))
        self._page = pages.results_page(
            self._results(), self._visit.page_number, total, self._per_page
        )

    def _show_about(self, product: Product, tab: str, part: int) -> None:
        self._visit.tab, self._visit.part = tab, part
        self._page = pages.about_page(product, tab, part, self._page_characters)

    def _show_item(self, product: Product) -> None:
        self._visit.product, self._visit.tab, self._visit.part = product, None, 1
        self._page = pages.item_page(product, self._shows_attributes)

    def _observation(self) -> Observation:
        if self.score is None:
            return Observation(self._page.text, self._page.admissible)
        value = self.score.value
        return Observation(
            self._page.text, reward=self._reward_of(value), done=True, won=value == 1.0
        )
