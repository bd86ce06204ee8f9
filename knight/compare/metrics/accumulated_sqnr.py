"""Signal-to-quantization-noise ratio: ``10 log10(sum l^2 / sum (r - l)^2)`` dB, kept within -200 and 200."""

from __future__ import annotations

import math

from knight.compare.metrics import Column, Metric
from knight.compare.tally import Tally

rank = 99  # beside the own error


def _compute(tally: Tally) -> tuple[float | None]:
    from knight.evaluation import sqnr_db  # brings the runtime along, which --help has no need of

    known = tally.count and math.isfinite(tally.signal) and math.isfinite(tally.noise)
    return (sqnr_db(tally.signal, tally.noise) if known else None,)


metric = Metric({"accumulated_sqnr": Column("SQNR(dB)", falling=True)}, _compute)
