"""The grid of values that hold integers already: what a typed input is fed needs no calibration."""

from __future__ import annotations

import math

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
    """Group -> parameters on the integers' own grid, where all its numbers are those of integer inputs."""
    found = {}
    for key, group in plan.groups.items():
        types = {border.integers.get(name) for name in group.sources}
        dtype = types.pop() if len(types) == 1 else None
        if dtype is not None and not group.spans:
            found[key] = integer_params(dtype, group.spec, statistics.extremes(group.sources))
    return found


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
