"""What the generated catalogue is written with."""

from __future__ import annotations

from dataclasses import dataclass

_BRANDS = (
    "acme birch corvo delmar easton fable garnet harlow ivoria juno kestrel lumen merton nordic "
    "orbit pavo quill rowan solace tallis"
)
BRANDS = tuple(_BRANDS.split())
# Of which ids are made, with a number: kilo-42.
_SPELLING = (
    "alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar "
    "papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
)
SPELLING = tuple(_SPELLING.split())
COLORS = ("black", "white", "red", "blue", "green", "yellow", "purple", "pink")
SIZES = ("small", "medium", "large", "x-large", "xx-large")


@dataclass(frozen=True)
class Department:
    """A category: what it sells, made of what, in what forms, and what can be said of it."""

    name: str
    levels: tuple[str, str]  # the upper ones of the product category
    types: tuple[str, ...]
    materials: tuple[str, ...]
    attributes: tuple[str, ...]
    options: tuple[tuple[str, tuple[str, ...]], ...]  # name and possible values
    prices: tuple[int, int]  # dollars


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


DEPARTMENTS = (
    Department(
        "fashion",
        ("Clothing", "Women and Men"),
        _phrases("shirt, dress, jacket, sweater, skirt, coat"),
        _phrases("cotton, wool, linen, denim"),
        _phrases("machine washable, long sleeve, slim fit, wrinkle free, quick drying, hand made"),
        (("color", COLORS), ("size", SIZES)),
        (12, 90),
    ),
    Department(
        "beauty",
        ("Beauty", "Personal Care"),
        _phrases("shampoo, lotion, soap, perfume, lipstick, cream"),
        _phrases("coconut, argan, honey, aloe"),
        _phrases("cruelty free, sulfate free, long lasting, dermatologist tested, vegan, oil free"),
        (
            ("scent", _phrases("rose, vanilla, lavender, lemon, mint, ocean, cedar, unscented")),
            ("size", _phrases("2 ounce, 4 ounce, 8 ounce, 16 ounce, 32 ounce")),
        ),
        (5, 60),
    ),
    Department(
        "grocery",
        ("Grocery", "Food and Drink"),
        _phrases("cookies, coffee, tea, chocolate, crackers, granola"),
        _phrases("oat, almond, rice, wheat"),
        _phrases("gluten free, sugar free, dairy free, fair trade, non gmo, low calorie"),
        (
            (
                "flavor",
                _phrases("vanilla, cinnamon, caramel, ginger, cherry, maple, salted, plain"),
            ),
            ("pack", _phrases("1 bag, 2 bags, 4 bags, 6 bags, 12 bags")),
        ),
        (4, 50),
    ),
    Department(
        "electronics",
        ("Electronics", "Accessories"),
        _phrases("cable, charger, speaker, headset, keyboard, lamp"),
        _phrases("aluminum, nylon, bamboo, rubber"),
        _phrases(
            "fast charging, water resistant, noise cancelling, wireless, easy to install, foldable"
        ),
        (("color", COLORS), ("length", _phrases("1 foot, 3 feet, 6 feet, 10 feet, 15 feet"))),
        (8, 120),
    ),
    Department(
        "garden",
        ("Home", "Furniture and Decor"),
        _phrases("chair, table, shelf, curtain, rug, pillow"),
        _phrases("oak, steel, glass, velvet"),
        _phrases(
            "easy to clean, space saving, heavy duty, fully assembled, stain resistant, hand made"
        ),
        (("color", COLORS), ("shape", _phrases("round, square, narrow, wide, oval"))),
        (20, 200),
    ),
)
