"""Products that are drawn: each follows from its number and the catalogue's seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator

from opid_lightning.envs.webshop.generation.words import BRANDS, DEPARTMENTS, SPELLING, Department
from opid_lightning.envs.webshop.products.catalogue import Plan
from opid_lightning.envs.webshop.products.product import LEVEL_MARK, Product, Wish

VERSION = 2  # another one draws other products
NUM_ATTRIBUTES = 3  # of a product: in its title, its first bullet point, and its second
NUM_VALUES = 3  # of an option

# With a, an attribute that search finds, and hidden, one that may stand among the features alone.
_WISHES = (
    "i need a {a} {material} {type} that is {hidden}",
    "i am looking for a {hidden} {type}, {a}, made with {material}",
    "find me a {material} {type} that is {a} and {hidden}",
)


def generation_plan(num_products: int, seed: int) -> Plan:
    """How a generated catalogue is built and told apart from others."""
    return Plan(
        f"generated-{num_products}-seed{seed}",
        f"generated {VERSION} {num_products} {seed}",
        lambda _: generate(num_products, seed),
    )


def generate(num_products: int, seed: int) -> Iterator[Product]:
    """The products in order; product n is the same in catalogues of every size."""
    for number in range(num_products):
        rng = random.Random(f"webshop {VERSION} {seed} {number}")
        yield _draw(product_id(number), DEPARTMENTS[number % len(DEPARTMENTS)], rng)


def product_id(number: int) -> str:
    """kilo-42, and with more words once those are used up. Neighbours do not look alike."""
    num_words, first = 1, 0
    while number - first >= (size := 90 * len(SPELLING) ** num_words):
        num_words, first = num_words + 1, first + size
    scattered = (number - first) * 7_919 % size  # a prime that divides no size: one to one
    words = []
    for _ in range(num_words):
        scattered, letter = divmod(scattered, len(SPELLING))
        words.append(SPELLING[letter])
    return "-".join([*words, str(10 + scattered)])


def _draw(name: str, department: Department, rng: random.Random) -> Product:
    kind, material = rng.choice(department.types), rng.choice(department.materials)
    brand = rng.choice(BRANDS)
    attributes = rng.sample(department.attributes, NUM_ATTRIBUTES)
    said, found, hidden = attributes
    wanted = rng.choice((said, found))
    wish = rng.choice(_WISHES).format(a=wanted, hidden=hidden, material=material, type=kind)
    return Product(
        id=name,
        title=f"{brand} {said} {material} {kind}",
        category=department.name,
        query=kind,
        product_category=f" {LEVEL_MARK} ".join((*department.levels, kind)),
        description=f"a {material} {kind} by {brand}",
        bullet_points=(f"{found} {kind}", f"it is {hidden}"),
        prices=(float(rng.randint(*department.prices)),),
        options={
            option: tuple(sorted(rng.sample(values, NUM_VALUES), key=values.index))
            for option, values in department.options
        },
        attributes=(*attributes, material),
        wish=Wish(wish, (wanted, hidden, material)),
    )
