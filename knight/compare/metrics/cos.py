"""Cosine similarity, moved to [0, 1]: ``0.5 + 0.5 * <l, r> / (|l| |r|)``.

Two tensors of zeros are alike (1); one beside another tensor has no direction (0.5).
"""

from __future__ import annotations

import math

from knight.compare.metrics import Column, Metric
from knight.compare.tally import Tally

rank = 2


def _compute(tally: Tally) -> tuple[float | None]:
    if not tally.count:
        return (None,)
    norm = math.sqrt(tally.signal) * math.sqrt(tally.energy)
    if norm == 0.0:
        return (1.0 if tally.signal == tally.energy else 0.5,)
    if not math.isfinite(norm):
        return (None,)
    return (0.5 + 0.5 * max(-1.0, min(1.0, tally.product / norm)),)


metric = Metric({"cos": Column("cos(%)", percent=True, digits=4, falling=True)}, _compute, title="cosine")
