"""What the shop shows: the texts of the original pages, their parts joined by [SEP].

A page's texts come in the original's order; what can be clicked is among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from opid_lightning.envs.webshop.products.product import Product

SEPARATOR = " [SEP] "
SEARCH, BUY, BACK = "Search", "Buy Now", "Back to Search"
PREVIOUS, NEXT = "< Prev", "Next >"
DESCRIPTION, FEATURES, REVIEWS, ATTRIBUTES = "Description", "Features", "Reviews", "Attributes"
BUTTONS = frozenset((SEARCH, BUY, BACK, PREVIOUS, NEXT, DESCRIPTION, FEATURES, REVIEWS, ATTRIBUTES))
QUERY = "search[<your query>]"  # among the admissible actions, where there is a search bar


@dataclass(frozen=True)
class Page:
    """Texts in order, and which of them can be clicked."""

    texts: tuple[str, ...]
    clickable: tuple[str, ...] = ()
    has_search_bar: bool = False

    @property
    def text(self) -> str:
        """The texts of the page joined by [SEP], as the original observation."""
        return SEPARATOR.join(self.texts)

    @property
    def admissible(self) -> tuple[str, ...]:
        """The page's actions in lower case; a search bar is `search[<your query>]`."""
        clicks = tuple(dict.fromkeys(f"click[{text.lower()}]" for text in self.clickable))
        return (QUERY, *clicks) if self.has_search_bar else clicks


SEARCH_PAGE = Page((SEARCH,), has_search_bar=True)


def results_page(products: Sequence[Product], number: int, total: int, per_page: int) -> Page:
    """A page of search results with its buttons."""
    buttons = [BACK]
    buttons += [PREVIOUS] if number > 1 else []
    buttons += [NEXT] if number * per_page < total else []
    shown = [text for p in products for text in (p.id, p.title, p.price_tag)]
    return Page(
        (BACK, f"Page {number} (Total results: {total})", *buttons[1:], *shown),
        (*buttons, *(product.id for product in products)),
    )


def item_page(product: Product, shows_attributes: bool) -> Page:
    """Which options were chosen is not said: the original marks them by colour alone."""
    options = [text for name, values in product.options.items() for text in (name, *values)]
    values = [value for values in product.options.values() for value in values]
    about = (DESCRIPTION, FEATURES, REVIEWS) + ((ATTRIBUTES,) if shows_attributes else ())
    texts = (product.title, f"Price: {product.price_tag}", f"Rating: {product.rating}")
    return Page(
        (BACK, PREVIOUS, *options, *texts, *about, BUY), (BACK, PREVIOUS, *about, BUY, *values)
    )


def about_page(product: Product, tab: str, number: int = 1, limit: int | None = None) -> Page:
    """Description, features, reviews or attributes.

    More than `limit` characters come in parts, of which this is the one with the number, and which
    are leafed through as the results are. Shorter ones look as in the original.
    """
    texts: dict[str, tuple[str, ...]] = {
        DESCRIPTION: (product.description,),
        FEATURES: product.bullet_points,
        REVIEWS: ("No reviews found",),  # the original's files have none
        ATTRIBUTES: (
            *product.attributes,
            product.category,
            product.query,
            product.product_category,
        ),
    }
    parts = in_parts((text.strip() for text in texts[tab] if text.strip()), limit)
    buttons = (BACK, PREVIOUS, NEXT) if number < len(parts) else (BACK, PREVIOUS)
    said = (f"Part {number} of {len(parts)}",) if len(parts) > 1 else ()
    return Page((*buttons, *said, *parts[number - 1]), buttons)


def in_parts(texts: Iterable[str], limit: int | None) -> list[list[str]]:
    """Texts of at most `limit` characters in all, separators included; no word is lost."""
    parts: list[list[str]] = [[]]
    room = limit
    for piece in (piece for text in texts for piece in _pieces(text, limit)):
        if room is not None and limit is not None:
            if len(piece) > room and parts[-1]:
                parts.append([])
                room = limit
            room -= len(piece) + len(SEPARATOR)
        parts[-1].append(piece)
    return parts


def _pieces(text: str, limit: int | None) -> Iterator[str]:
    """One that is longer than the limit is cut between words where it has any."""
    while limit is not None and len(text) > limit:
        end = text.rfind(" ", 1, limit + 1)
        end = limit if end < 0 else end
        yield text[:end]
        text = text[end:].lstrip()
    if text:
        yield text


def done_page(score: float) -> Page:
    """The page after buying, which shows the score in [0, 1]."""
    return Page(("Thank you for shopping with us!", f"Your score (min 0.0, max 1.0): {score}"))
