"""A small shop in the original files' form, for tests to alter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHIRT, DRESS, LAMP = "B000SHIRT1", "B000DRESS1", "B000LAMP01"


def items() -> list[dict[str, Any]]:
    return [
        {
            "asin": SHIRT,
            "name": "Acme Men's Cotton Shirt",
            "category": "fashion",
            "query": "Men's Shirts ",
            "product_category": "Clothing \u203a Men \u203a Shirts",
            "full_description": "A shirt for every day.",
            "small_description": ["Machine wash", "Slim fit "],
            "pricing": "$19.99$27.99",
            "customization_options": {
                "Size": [{"value": " Small "}, {"value": "X-Large"}],
                "color": [{"value": "Red/White"}, {"value": "navy blue"}, {"value": "red"}],
            },
        },
        {
            "asin": DRESS,
            "name": "Linen Dress",
            "category": "fashion",
            "query": "dresses",
            "product_category": "Clothing \u203a Women \u203a Dresses",
            "full_description": None,
            "small_description": "Hand made",
            "pricing": "",
            "customization_options": "",
        },
        {
            "asin": LAMP,
            "name": "Desk Lamp",
            "category": "garden",
            "query": "lamps",
            "product_category": "Home \u203a Lamps",
            "full_description": "Gives light.",
            "small_description": [],
            "pricing": "$1,299.00",
            "customization_options": None,
        },
    ]


def attributes() -> dict[str, Any]:
    return {
        SHIRT: {
            "attributes": ["machine wash", "slim fit"],
            "instruction": "Find me men's shirts with machine wash",
            "instruction_attributes": ["machine wash"],
        },
        DRESS: {
            "attributes": ["hand made"],
            "instruction": "Find me a hand made dress",
            "instruction_attributes": ["hand made"],
        },
        LAMP: {"attributes": []},
    }


def wishes() -> dict[str, Any]:
    return {
        SHIRT: [
            {
                "instruction": "i want a red shirt.",
                "instruction_attributes": ["machine wash"],
                "instruction_options": ["red"],
            },
            {"instruction": "anything", "instruction_attributes": [], "instruction_options": []},
        ]
    }


def write_shop(
    folder: Path,
    products: Any = None,
    about: Any = None,
    human: Any = None,
) -> dict[str, str]:
    """Settings of a WebShop over these files. A text is written as it is, else JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "items_shuffle.json": items() if products is None else products,
        "items_ins_v2.json": attributes() if about is None else about,
        "items_human_ins.json": wishes() if human is None else human,
    }
    for name, content in contents.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return {"data": str(folder), "cache": str(folder / "cache"), "nouns": "words"}
