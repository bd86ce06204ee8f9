"""What is remembered of a tensor over a data set: exact extremes and one histogram.

The bin width is a power of two and the bins are aligned at zero: bin ``k`` holds ``k <= x / width < k + 1``.
Scaling a float32 by a power of two is exact, and doubling the width merges whole bins, so the final
counts depend on the data alone: not on its order, not on how it was cut into samples, and two
observers merge without loss. Memory is fixed by `BINS`, whatever the number of samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knight.errors import DataError
from knight.types import FloatArray

BINS = 8192
"""Bins on each side of zero. The largest magnitude falls into the upper half of them."""

_SMALLEST_EXPONENT = -149  # of the smallest float32: every magnitude has a bin from the start
_CHUNK = 1 << 16  # elements handled at a time, so that the temporaries stay in the cache


@dataclass(frozen=True)
class Histogram:
    """Counts over contiguous bins: ``counts[i]`` values ``x`` with ``first + i <= x / width < first + i +
    1``.

    minimum, maximum: exact extremes. The outermost bins are never empty.
    """

    counts: NDArray[np.int64]
    first: int
    width: float
    minimum: float
    maximum: float

    @property
    def total(self) -> int:
        """Number of values seen."""
        return int(self.counts.sum())

    @property
    def centers(self) -> NDArray[np.float64]:
        """Middle of each bin."""
        index = np.arange(self.first, self.first + self.counts.size, dtype=np.float64)
        return (index + 0.5) * self.width

    def magnitudes(self) -> NDArray[np.int64]:
        """Counts of ``|x|``: entry i holds ``i <= |x| / width < i + 1`` (negative bins mirrored)."""
        size = max(self.first + self.counts.size, -self.first, 1)
        folded = np.zeros(size, np.int64)
        negative = max(0, min(-self.first, self.counts.size))
        if negative:  # bin -1 - i mirrors bin i
            mirrored = -1 - (self.first + np.arange(negative))
            folded[mirrored] += self.counts[:negative]
        positive = self.counts[negative:]
        start = self.first + negative
        folded[start : start + positive.size] += positive
        return folded


class Observer:
    """Fills while a model runs; answers with a `Histogram` afterwards."""

    def __init__(self) -> None:
        self.minimum = math.inf
        self.maximum = -math.inf
        self.infinite = 0
        self._exponent = _SMALLEST_EXPONENT
        self._positive = np.zeros(BINS, np.int64)
        self._negative = np.zeros(BINS, np.int64)

    def update(self, x: FloatArray) -> None:
        """Adds the values of `x`, any shape. Infinite values are counted apart; NaN is a DataError."""
        flat = np.asarray(x, np.float32).reshape(-1)
        if not flat.size:
            return
        low, high = flat.min(), flat.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            if np.isnan(low) or np.isnan(high):
                raise DataError("is not a number (NaN)")
            finite = flat[np.isfinite(flat)]
            self.infinite += flat.size - finite.size
            self.update(finite)
            return
        self.minimum = min(self.minimum, float(low))
        self.maximum = max(self.maximum, float(high))
        self._widen(_exponent_for(max(float(high), -float(low))))
        for start in range(0, flat.size, _CHUNK):
            self._count(flat[start : start + _CHUNK], signed=bool(low < 0))

    def _count(self, x: NDArray[np.float32], *, signed: bool) -> None:
        # ldexp per element is slow; two exact multiplications keep the factor within float32's range.
        half = -self._exponent // 2
        bins = x * np.float32(math.ldexp(1.0, half))
        bins *= np.float32(math.ldexp(1.0, -self._exponent - half))
        if not signed:
            self._positive += np.bincount(bins.astype(np.intp), minlength=BINS)
            return
        np.floor(bins, out=bins)
        if (
            self._exponent > 0
        ):  # only a factor below 1 can underflow: the smallest negatives would turn positive
            bins[(bins == 0) & (x < 0)] = -1
        bins += BINS
        both = np.bincount(bins.astype(np.intp), minlength=2 * BINS)
        self._negative += both[BINS - 1 :: -1]
        self._positive += both[BINS:]

    def _widen(self, exponent: int) -> None:
        shift = exponent - self._exponent
        if shift <= 0:
            return
        self._positive = _merge_bins(self._positive, shift)
        self._negative = _merge_bins(self._negative, shift)
        self._exponent = exponent

    def merge(self, other: Observer) -> None:
        """Adds all that `other` has seen; the result is the one that a single observer would have."""
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.infinite += other.infinite
        self._widen(other._exponent)
        shift = self._exponent - other._exponent
        self._positive = self._positive + _merge_bins(other._positive, shift)
        self._negative = self._negative + _merge_bins(other._negative, shift)

    def copy(self) -> Observer:
        """An independent snapshot."""
        twin = Observer()
        twin.merge(self)
        return twin

    @property
    def empty(self) -> bool:
        """True when no finite value has been seen."""
        return self.minimum > self.maximum

    def histogram(self) -> Histogram:
        """The counts so far. An observer that saw nothing answers like one that saw a single zero."""
        if self.empty:
            return Histogram(np.ones(1, np.int64), 0, 1.0, 0.0, 0.0)
        both = np.concatenate([self._negative[::-1], self._positive])
        used = np.flatnonzero(both)
        first, last = int(used[0]), int(used[-1])
        width = math.ldexp(1.0, self._exponent)
        return Histogram(both[first : last + 1].copy(), first - BINS, width, self.minimum, self.maximum)


def _exponent_for(magnitude: float) -> int:
    """Smallest e for which ``magnitude / 2**e`` lies inside the bins, on the negative side too."""
    if magnitude == 0.0:
        return _SMALLEST_EXPONENT
    _, exponent = math.frexp(magnitude)  # magnitude = m * 2**exponent with m in [0.5, 1)
    return max(exponent - BINS.bit_length() + 1, _SMALLEST_EXPONENT)


def _merge_bins(counts: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """`counts` with every 2**shift neighbours added up, at the same length."""
    if shift == 0:
        return counts
    merged = np.zeros_like(counts)
    group = 1 << min(shift, BINS.bit_length() - 1)
    merged[: counts.size // group] = counts.reshape(-1, group).sum(axis=1)
    return merged
