"""When an answer agrees with a recorded one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from tests.golden.reader import Case

Tolerance = tuple[float, float]  # absolute; relative


def tolerance(case: Case) -> Tolerance:
    if case.function == "compute_step_discounted_returns":
        return 1e-6, 1e-6
    if case.function == "webshop_get_reward":
        return 1e-9, 1e-9
    is_double = any(getattr(x, "dtype", None) == torch.float64 for x in case.inputs.values())
    return (1e-9, 1e-9) if is_double or "float64" in case.tags else (1e-6, 1e-5)


def differences(case: Case, got: Mapping[str, Any]) -> list[str]:
    """The names of the outputs that differ, missing and unexpected ones among them."""
    bounds = tolerance(case)
    return [
        name
        for name in sorted(case.outputs.keys() | got.keys())
        if name not in case.outputs
        or name not in got
        or not agrees(got[name], case.outputs[name], bounds, case.float64_gap)
    ]


def agrees(got: Any, want: Any, bounds: Tolerance, gap: float) -> bool:
    if isinstance(want, Mapping):
        return (
            isinstance(got, Mapping)
            and got.keys() == want.keys()
            and all(agrees(got[key], want[key], bounds, gap) for key in want)
        )
    if isinstance(want, torch.Tensor | np.ndarray):
        return _arrays_agree(np.asarray(got), np.asarray(want), bounds, gap)
    if isinstance(want, float):
        return _arrays_agree(np.asarray(got, dtype=float), np.asarray(want), bounds, gap)
    return type(got) is type(want) and bool(got == want)


def _arrays_agree(got: np.ndarray, want: np.ndarray, bounds: Tolerance, gap: float) -> bool:
    if got.shape != want.shape:
        return False
    if want.dtype.kind not in "f":
        return bool(np.array_equal(got, want))
    if not math.isfinite(gap):
        return True  # float32 and float64 disagree on NaN: nothing can be demanded but the shape
    got, want = got.astype(np.float64), want.astype(np.float64)
    absolute, relative = bounds
    with np.errstate(invalid="ignore"):
        near = np.abs(got - want) <= (
            absolute + relative * np.abs(want) + 3 * gap * np.maximum(1, np.abs(want))
        )
    return bool(np.all(near | (got == want) | (np.isnan(got) & np.isnan(want))))
