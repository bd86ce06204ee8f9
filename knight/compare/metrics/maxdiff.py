"""Largest differences over the elements with ``l > 1e-6``: relative, ``max |r - l| / l``, and absolute."""

from __future__ import annotations

import math

from knight.compare.metrics import Column, Metric
from knight.compare.tally import Tally

rank = 4


def _compute(tally: Tally) -> tuple[float | None, float | None]:
    if not tally.count:
        return (None, None)
    relative, absolute = (
        found if math.isfinite(found) else None for found in (tally.max_relative, tally.max_absolute)
    )
    return (relative, absolute)


metric = Metric(
    {
        "max_relative": Column("max rel(%)", percent=True),
        "max_absolute": Column("max abs", digits=6),
    },
    _compute,
    shown=False,
    title="largest relative and absolute difference",
)
