"""Reads recorded cases: JSON in which tensors, arrays and odd values are tagged with `__t__`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Case:
    id: str
    function: str
    tags: frozenset[str]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    float64_gap: float  # by how much float32 alone moved the reference's answer

    @property
    def raises(self) -> str | None:
        return self.outputs.get("__raises__")

    @property
    def may_differ(self) -> bool:
        return bool(self.tags & {"pathological", "rounding_sensitive"})


def read_cases(path: Path) -> list[Case]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [_case(content["function"], raw) for raw in content["cases"]]


def _case(function: str, raw: Mapping[str, Any]) -> Case:
    return Case(
        id=raw["id"],
        function=function,
        tags=frozenset(raw["tags"]),
        inputs={name: decode(value) for name, value in raw["inputs"].items()},
        outputs={name: decode(value) for name, value in raw["outputs"].items()},
        float64_gap=float(decode(raw.get("float64_gap")) or 0.0),
    )


def decode(value: Any) -> Any:
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value.get("__t__"):
        case None:
            return {key: decode(item) for key, item in value.items()}
        case "torch":
            numbers = torch.tensor([float(decode(x)) for x in value["data"]], dtype=torch.float64)
            return numbers.to(getattr(torch, value["dtype"])).reshape(value["shape"])
        case "numpy":
            return _array(value)
        case "float":
            return float(value["v"])
        case "npscalar":
            data = value["v"] if "v" in value else value["data"]
            data = data if isinstance(data, list) else [data]
            return _array({**value, "data": data, "shape": [1]})[0]
        case "tuple":
            return tuple(decode(item) for item in value["items"])
        case "dict":
            return {_key(decode(key)): decode(item) for key, item in value["items"]}
    raise ValueError(f"unknown tag in a recorded case: {value['__t__']!r}")


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _array(value: Mapping[str, Any]) -> np.ndarray:
    dtype = value["dtype"]
    if dtype in ("object", "str"):
        array = np.empty(len(value["data"]), dtype=object)
        for place, item in enumerate(value["data"]):  # one by one: numpy would spread out a list
            array[place] = decode(item)
        return array.reshape(value["shape"]).astype(dtype, copy=False)
    if dtype.startswith("float"):
        return np.array([float(decode(x)) for x in value["data"]], dtype=dtype).reshape(
            value["shape"]
        )
    return np.array(value["data"], dtype=dtype).reshape(value["shape"])
