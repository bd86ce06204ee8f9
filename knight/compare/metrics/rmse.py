"""Root mean square error, relative: ``sqrt(sum (r - l)^2 / sum l^2)``; not defined as `mre` is not."""

from __future__ import annotations

import math

from knight.compare.metrics import Column, Metric
from knight.compare.tally import Tally

rank = 3


def _compute(tally: Tally) -> tuple[float | None]:
    known = tally.count and math.isfinite(tally.signal) and math.isfinite(tally.noise)
    if not known or (tally.noise and not tally.signal):
        return (None,)
    return (math.sqrt(tally.noise) / math.sqrt(tally.signal) if tally.noise else 0.0,)


metric = Metric(
    {"rmse": Column("RMSE(%)", percent=True, digits=4)},
    _compute,
    shown=False,
    title="relative root mean square error",
)
