"""percentile: the largest magnitudes are given up, so many that `percent` of all values stay representable.

With percent = 0.9999, of 10,000 values one is dropped. The threshold is on ``|x|``, for both sides together.
"""

from __future__ import annotations

import math

import numpy as np

from knight.calibration import Method, Option
from knight.calibration._candidates import clipped_at, full_range
from knight.observer import Histogram
from knight.types import QuantSpec

rank = 2
DEFAULT = 0.99999


def clipping_range(histogram: Histogram, spec: QuantSpec, percent: float = DEFAULT) -> tuple[float, float]:
    """The data's range, cut at the magnitude below which `percent` (in (0, 1]) of the values lie."""
    counts = histogram.magnitudes()
    reached = np.cumsum(counts)
    total = int(reached[-1])
    # The product of a decimal fraction and a count may miss a whole number by a rounding error.
    keep = max(1, math.ceil(percent * total - 1e-9 * total))
    if keep >= total:
        return full_range(histogram)
    last = int(np.searchsorted(reached, keep))
    # The values of a bin are taken as evenly spread: the j-th of n lies about (j - 1/2) / n into it.
    inside = (keep - 0.5 - (reached[last] - counts[last])) / counts[last]
    return clipped_at(histogram, (last + inside) * histogram.width)


method = Method(
    clipping_range,
    options={
        "percent": Option(
            DEFAULT, "a fraction above 0.5 and up to 1, such as 0.99999", lambda number: 0.5 < number <= 1.0
        )
    },
)
