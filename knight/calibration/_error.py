"""Squared error that quantization to a clipping range causes, predicted from a histogram in a few sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knight.observer import Histogram
from knight.quantizer import params_from_range
from knight.types import QuantSpec

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over all values below a point: how many, of ``x``, of ``x**2``.

    Values are evenly spread over their bin, but for the exact zeros, which are left out: whatever the
    bin that holds zero has more than its neighbours.
    """

    first: int
    width: float
    counts: Array
    below: Array  # (3, bins + 1): the sums at each edge

    @classmethod
    def of(cls, histogram: Histogram) -> Moments:
        """The sums of a histogram."""
        counts = without_zeros(histogram)
        left: Array = (
            np.arange(histogram.first, histogram.first + counts.size, dtype=np.float64) * histogram.width
        )
        rows = _partial(left, counts, histogram.width)
        below = np.concatenate([np.zeros((3, 1)), np.cumsum(rows, axis=1)], axis=1)
        return cls(histogram.first, histogram.width, counts, below)

    def at(self, points: Array) -> Array:
        """(3, n): the sums over the values below each of the `points`."""
        position = np.clip(points / self.width - self.first, 0.0, float(self.counts.size))
        index = np.minimum(position.astype(np.intp), self.counts.size - 1)
        part = position - index
        left = (self.first + index) * self.width
        return self.below[:, index] + _partial(left, self.counts[index] * part, part * self.width)


def _partial(left: Array, counts: Array, width: Array | float) -> Array:
    """The three sums of `counts` values spread evenly over ``[left, left + width)``."""
    middle = left + 0.5 * width
    return np.stack([counts, counts * middle, counts * (middle * middle + width * width / 12)])


def without_zeros(histogram: Histogram) -> Array:
    """The counts, with the bin that starts at zero cut to the larger of its neighbours."""
    counts = histogram.counts.astype(np.float64)
    zero = -histogram.first
    if 0 <= zero < counts.size:
        neighbours = counts[max(zero - 1, 0) : zero + 2]
        others = np.delete(neighbours, min(zero, 1))
        counts[zero] = min(counts[zero], others.max(initial=0.0))
    return counts


def squared_error(moments: Moments, spec: QuantSpec, lows: Array, highs: Array) -> Array:
    """Sum of ``(x - Q(x))**2`` for each of the ranges [lows[i], highs[i]], both of shape (n,)."""
    params = params_from_range(lows, highs, spec)
    step = params.scale.astype(np.float64)
    low, high = params.low.astype(np.float64), params.high.astype(np.float64)
    # Half a step inside an end is where values begin to become that end.
    left, right = low + step / 2, high - step / 2
    at_left, at_right = moments.at(left), moments.at(right)
    zero_left, zero_right = moments.at(np.maximum(left, -step / 2)), moments.at(np.minimum(right, step / 2))
    ends = _distance(at_left, low) + _distance(moments.below[:, -1:] - at_right, high)
    zeros = zero_right[2] - zero_left[2]
    rounded = (at_right[0] - at_left[0]) - (zero_right[0] - zero_left[0])
    error: Array = ends + zeros + rounded * step * step / 12
    return error


def _distance(sums: Array, end: Array) -> Array:
    """Sum of ``(x - end)**2`` over the values that `sums` (3, n) are of."""
    distance: Array = sums[2] - 2 * end * sums[1] + end * end * sums[0]
    return distance
