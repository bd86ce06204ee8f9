"""Mean relative error: ``sum |r - l| / sum |l|``; not defined for a reference of zeros that is missed."""

from __future__ import annotations

import math

from knight.compare.metrics import Column, Metric
from knight.compare.tally import Tally

rank = 1


def _compute(tally: Tally) -> tuple[float | None]:
    known = tally.count and math.isfinite(tally.signal_abs) and math.isfinite(tally.noise_abs)
    if not known or (tally.noise_abs and not tally.signal_abs):
        return (None,)
    return (tally.noise_abs / tally.signal_abs if tally.noise_abs else 0.0,)


metric = Metric({"mre": Column("MRE(%)", percent=True, digits=4)}, _compute, title="mean relative error")
