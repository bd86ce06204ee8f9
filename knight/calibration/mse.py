"""mse: the range with the least squared error, ``sum((x - Q(x))**2)``, over the histogram.

Three kinds of values are told apart, which makes the error of any range a matter of a few sums:

- between the ends, rounding leaves an error spread evenly over one step: ``scale**2 / 12`` per value;
- the values that become the integer of zero are off by themselves: ``x**2``, and exact zeros, of
  which there are many after a Relu, by nothing;
- what lies outside is off by its distance from the nearest end.

Both ends are searched independently where the spec allows it (asymmetric), and together, as one
threshold on ``|x|``, where the zero point is fixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knight.calibration import Method
from knight.calibration._candidates import full_range
from knight.calibration._error import Moments, squared_error
from knight.observer import Histogram
from knight.types import QuantSpec

rank = 3

Array = NDArray[np.float64]

_FINEST = 1 / 512  # of the full range: the tightest clipping that is tried
_COARSE = 64  # candidates per end in the first look ...
_FINE = 17  # ... and in each of the closer ones around the best
_LOOKS = 2


def clipping_range(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """The range with the least squared error for `spec`."""
    low, high = full_range(histogram)
    moments = Moments.of(histogram)
    if spec.symmetric:
        return _best_threshold(moments, spec, low, high)
    return _best_ends(moments, spec, low, high)


def _best_threshold(moments: Moments, spec: QuantSpec, low: float, high: float) -> tuple[float, float]:
    bound = max(high, -low)
    ratios = _coarse(_COARSE * 4)
    for look in range(_LOOKS + 1):
        lows, highs = np.maximum(low, -bound * ratios), np.minimum(high, bound * ratios)
        best = int(np.argmin(squared_error(moments, spec, lows, highs)))
        if look < _LOOKS:
            ratios = _around(ratios, best)
    return float(lows[best]) + 0.0, float(highs[best])  # + 0.0: no negative zero


def _best_ends(moments: Moments, spec: QuantSpec, low: float, high: float) -> tuple[float, float]:
    low_ratios, high_ratios = (_coarse(_COARSE) if end else np.ones(1) for end in (low, high))
    for look in range(_LOOKS + 1):
        lows, highs = (ends.reshape(-1) for ends in np.meshgrid(low * low_ratios, high * high_ratios))
        best = int(np.argmin(squared_error(moments, spec, lows, highs)))
        if look < _LOOKS:
            row, column = divmod(best, low_ratios.size)
            low_ratios, high_ratios = _around(low_ratios, column), _around(high_ratios, row)
    return float(lows[best]) + 0.0, float(highs[best])  # + 0.0: no negative zero


def _coarse(count: int) -> Array:
    """Ratios from 1 down to `_FINEST`, evenly spaced on a logarithmic scale. 1 first: it wins a draw."""
    return np.geomspace(1.0, _FINEST, count)


def _around(ratios: Array, best: int) -> Array:
    """Ratios between the two neighbours of the best one, the larger first."""
    upper, lower = ratios[max(best - 1, 0)], ratios[min(best + 1, ratios.size - 1)]
    return np.linspace(upper, lower, _FINE) if upper > lower else ratios[best : best + 1]


method = Method(clipping_range)
