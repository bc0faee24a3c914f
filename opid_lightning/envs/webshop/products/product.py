"""A product as its pages show it, and how an item of the original files becomes one."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opid_lightning.envs.webshop.products.prices import read_prices

NO_PRICE = 100.0  # of products without one, as in the original
NO_ATTRIBUTES = ("DUMMY_ATTR",)  # which is what the original says
LEVEL_MARK = "\u203a"  # between the levels of a product category
MAX_COMBINATIONS = 100_000  # of a product's options; of the original 1,000 none has over 558
MAX_ID_LENGTH = 10  # products with longer ones are left out, as in the original


@dataclass(frozen=True)
class Wish:
    """What somebody asks for, with a product in mind."""

    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] = ()  # values that were asked for in the instruction itself


@dataclass(frozen=True)
class Product:
    """Everything a page can show of it, and what people asked for when they had it in mind."""

    id: str  # asin
    title: str
    category: str
    query: str  # under which the original authors found it
    product_category: str  # from general to special, with LEVEL_MARK between
    description: str
    bullet_points: tuple[str, ...]
    prices: tuple[float, ...]  # one, or the ends of a range; none: NO_PRICE
    options: Mapping[str, tuple[str, ...]]  # by name: colour, size, ...
    attributes: tuple[str, ...] = NO_ATTRIBUTES
    rating: str = "N.A."
    wish: Wish | None = None  # of which synthetic goals are made
    human_wishes: tuple[Wish, ...] = ()

    @property
    def price_tag(self) -> str:
        """As the original prints it."""
        return " to ".join(f"${price}" for price in self.prices or (NO_PRICE,))

    def price(self, seed: int) -> float:
        """What it costs; from a range, drawn once and for all."""
        if len(self.prices) < 2:
            return self.prices[0] if self.prices else NO_PRICE
        return random.Random(f"price {seed} {self.id}").uniform(*self.prices)

    @property
    def indexed_text(self) -> str:
        """What search finds it by: the same parts as in the original, in the same order."""
        options = ", and ".join(
            f"{name}: {', '.join(values)}" for name, values in self.options.items()
        )
        first = self.bullet_points[0] if self.bullet_points else ""
        return " ".join((self.title, self.description, first, options)).lower()

    def to_json(self) -> str:
        """The product on one line, as the catalogue stores it."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Product:
        """The inverse of `to_json`."""
        values = json.loads(text)
        for name in ("bullet_points", "prices", "attributes"):
            values[name] = tuple(values[name])
        values["options"] = {name: tuple(those) for name, those in values["options"].items()}
        values["wish"] = values["wish"] and _wish(values["wish"])
        values["human_wishes"] = tuple(_wish(wish) for wish in values["human_wishes"])
        return cls(**values)


def _wish(values: Mapping[str, Any]) -> Wish:
    return Wish(values["instruction"], tuple(values["attributes"]), tuple(values["options"]))


class MalformedItemError(ValueError):
    """An item that no product can be made of."""


def product_from(item: Any, about: Mapping[str, Any] | None, wishes: Sequence[Any]) -> Product:
    """From an item of items_shuffle*.json, what items_ins_v2*.json says of it, and people's wishes.

    Where the original shows a placeholder, so does this: no price is $100.0, no attributes are
    DUMMY_ATTR. Raises MalformedItemError where there is no name or id, or a part is of
    another type.
    """
    if not isinstance(item, Mapping):
        raise MalformedItemError(f"an item is {type(item).__name__}, expected an object")
    name = item.get("name")
    if not isinstance(name, str) or not name.strip() or not _text(item, "asin"):
        raise MalformedItemError(f"item {item.get('asin')!r} has no asin or no name")
    bullets = item.get("small_description") or ()
    about = about or {}
    return Product(
        id=_text(item, "asin"),
        title=name,
        category=_text(item, "category"),
        query=_text(item, "query").lower().strip(),
        product_category=_text(item, "product_category"),
        description=_text(item, "full_description"),
        bullet_points=(bullets,) if isinstance(bullets, str) else _texts(item, bullets),
        prices=_prices(item),
        options=_options(item),
        attributes=_texts(item, about.get("attributes") or NO_ATTRIBUTES),
        wish=_synthetic_wish(item, about),
        human_wishes=tuple(_human_wish(item, wish) for wish in wishes),
    )


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedItemError(
            f"item {item.get('asin')!r} has {name} of type {type(value).__name__}, expected a text"
        )
    return value


def _texts(item: Mapping[str, Any], values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise MalformedItemError(f"item {item.get('asin')!r} has {values!r:.80}, expected texts")
    return tuple(values)


def _prices(item: Mapping[str, Any]) -> tuple[float, ...]:
    try:
        return read_prices(item.get("pricing"))
    except ValueError as error:
        raise MalformedItemError(f"item {item.get('asin')!r} has the price {error}") from error


def _options(item: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    given = item.get("customization_options") or {}
    if not isinstance(given, Mapping):
        raise MalformedItemError(f"item {item.get('asin')!r} has options {given!r:.80}")
    options = {
        name.lower(): tuple(_value(item, content) for content in _contents(item, contents))
        for name, contents in given.items()
        if contents is not None
    }
    # Each is a goal, and to split those of one product all of them are listed.
    combinations = math.prod(map(len, options.values()))
    if combinations > MAX_COMBINATIONS:
        raise MalformedItemError(
            f"item {item.get('asin')!r} has options with {combinations:.3g} combinations, "
            f"expected at most {MAX_COMBINATIONS:,}"
        )
    return options


def _contents(item: Mapping[str, Any], contents: Any) -> list[Any]:
    if not isinstance(contents, list):
        raise MalformedItemError(
            f"item {item.get('asin')!r} has {contents!r:.80}, expected options"
        )
    return contents


def _value(item: Mapping[str, Any], content: Any) -> str:
    value = content.get("value") if isinstance(content, Mapping) else None
    if not isinstance(value, str):
        raise MalformedItemError(f"item {item.get('asin')!r} has an option value {content!r:.80}")
    return value.strip().replace("/", " | ").lower()


def _synthetic_wish(item: Mapping[str, Any], about: Mapping[str, Any]) -> Wish | None:
    """None where there is no instruction, or it has no attributes to ask for."""
    attributes = _texts(item, about.get("instruction_attributes") or ())
    instruction = _text({**about, "asin": item.get("asin")}, "instruction")
    return Wish(instruction, attributes) if instruction and attributes else None


def _human_wish(item: Mapping[str, Any], wish: Any) -> Wish:
    if not isinstance(wish, Mapping):
        raise MalformedItemError(f"item {item.get('asin')!r} has the wish {wish!r:.80}")
    return Wish(
        _text({**wish, "asin": item.get("asin")}, "instruction"),
        _texts(item, wish.get("instruction_attributes") or ()),
        _texts(item, wish.get("instruction_options") or ()),
    )
