"""The grid of values that hold integers already: what a typed input is fed needs no calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from knight.border import Border
from knight.observer import Extremes
from knight.statistics import Statistics
from knight.types import QParams, QuantPlan, QuantSpec


def holds(spec: QuantSpec, dtype: str) -> bool:
    """Whether the integers of `spec` can be those of `dtype`, each with its own, at scale 1."""
    limits = np.iinfo(dtype)
    zero = 0 if spec.symmetric else spec.qmin - int(limits.min)
    inside = spec.qmin <= zero <= spec.qmax
    return inside and spec.qmin <= limits.min + zero and limits.max + zero <= spec.qmax


def exact_parameters(border: Border, plan: QuantPlan, statistics: Statistics) -> dict[str, QParams]:
    """Group -> parameters on the integers' own grid, where all its numbers are those of integer inputs, or
    those less whole numbers.
    """
    found = {}
    for key, group in plan.groups.items():
        whole = [border.whole[name] for name in group.sources if name in border.whole]
        if whole and len(whole) == len(group.sources) and not group.spans:
            if fits(group.spec, whole, statistics.extremes(group.sources)):
                found[key] = QParams(group.spec, np.asarray(1, np.float32), np.asarray(0, group.spec.dtype))
            continue
        types = {border.integers.get(name) for name in group.sources}
        dtype = types.pop() if len(types) == 1 else None
        if dtype is not None and not group.spans:
            found[key] = integer_params(dtype, group.spec, statistics.extremes(group.sources))
    return found


def fits(spec: QuantSpec, whole: Sequence[tuple[int, int]], seen: Extremes) -> bool:
    """Whether whole numbers between these limits are integers of `spec`, at scale 1 and zero point 0: all
    that there can be, or all that were seen.
    """
    low, high = min(low for low, _ in whole), max(high for _, high in whole)
    zero = spec.qmin <= 0 <= spec.qmax and (not spec.symmetric or spec.fixed_zero == 0)
    least, most = max(low, seen.minimum), min(high, seen.maximum)
    return zero and spec.qmin <= least and most <= spec.qmax


def integer_params(dtype: str, spec: QuantSpec, seen: Extremes) -> QParams:
    """Scale 1 where `spec` holds all integers of `dtype`, else the least whole scale for what was seen.

    Of a scale s > 1, the multiples are exact and the ends of the range are off by s / 2 at most.
    """
    if holds(spec, dtype):
        zero = 0 if spec.symmetric else spec.qmin - int(np.iinfo(dtype).min)
        return QParams(spec, np.asarray(1, np.float32), np.asarray(zero, spec.dtype))
    zero = 0 if spec.symmetric or seen.minimum >= 0 else (spec.qmin + spec.qmax + 1) // 2
    up = seen.maximum / (spec.qmax - zero + 0.5)
    down = -seen.minimum / (zero - spec.qmin + 0.5)
    scale = max(1, math.ceil(up), math.ceil(down))
    return QParams(spec, np.asarray(scale, np.float32), np.asarray(zero, spec.dtype))
