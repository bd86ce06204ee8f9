"""Running sums over pairs of tensors, from which every metric is answered afterwards.

Nothing here grows with the number of samples. Sums are kept in float64; tensors of any type are taken as
numbers (booleans as 0 and 1). Where both sides hold the same infinity, or both NaN, the element is equal and
enters no sum; where only one side is finite it is counted as `broken` and enters no sum either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BAND_EDGES = (0.01, 0.1, 0.5, 1.0)
"""Relative errors that divide the elements into bands: 0-1, 1-10, 10-50, 50-100 and above 100 %."""

LEAST = 1e-6
"""Elements of the reference up to this are left out of `max_relative` and `max_absolute`."""

_CHUNK = 66_000  # elements at a time: temporaries stay in the cache, and threads seldom wait for each other;
# no power of two, at which all temporaries would meet in the same lines of the cache
_PART = 512  # elements of one product: few enough for float32, and BLAS stays in the thread that calls it
_LARGE = 1 << 14
"""Tensors of at least so many float32 numbers are summed up in float32, part by part, and the parts in
float64: right to some 1e-7, in a third of the time. An element at the very edge of a band may fall on its
other side.
"""


@dataclass
class Tally:
    """Sums over all elements seen: l of the reference (float), r of the result (quantized).

    count: elements that entered the sums. signal: sum l^2. energy: sum r^2. product: sum l r. noise:
    sum (r - l)^2. signal_abs: sum |l|. noise_abs: sum |r - l|. above, below: elements with r > l, r < l.
    bands: elements by relative error. max_relative, max_absolute: of |r - l|, over l > 1e-6. largest: of
    |r - l|, over all. equal_nonfinite, broken: elements that entered no sum.
    """

    count: int = 0
    signal: float = 0.0
    energy: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    signal_abs: float = 0.0
    noise_abs: float = 0.0
    above: int = 0
    below: int = 0
    bands: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BAND_EDGES) + 1, np.int64))
    max_relative: float = 0.0
    max_absolute: float = 0.0
    largest: float = 0.0
    equal_nonfinite: int = 0
    broken: int = 0

    def update(self, reference: np.ndarray, result: np.ndarray) -> None:
        """Adds two tensors of one size. Raises ValueError where the sizes differ."""
        left, right = np.asarray(reference).reshape(-1), np.asarray(result).reshape(-1)
        if left.size != right.size:
            raise ValueError(f"{np.shape(reference)} and {np.shape(result)} cannot be compared")
        single = left.dtype == right.dtype == np.float32 and left.size >= _LARGE
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # overflow makes a sum infinite
            for start in range(0, left.size, _CHUNK):
                parts = left[start : start + _CHUNK], right[start : start + _CHUNK]
                self._add(*(parts if single else numbers(*parts)))

    def _add(self, left: np.ndarray, right: np.ndarray) -> None:
        d = right - left
        noise, signal = _dot(d, d), _dot(left, left)
        if left.dtype == np.float32 and not _plain(signal, noise, left.size):
            left, right = numbers(left, right)
            d = right - left
            noise, signal = _dot(d, d), _dot(left, left)
        if not math.isfinite(noise + signal):
            left, right = self._finite(left, right)
            d = right - left
            noise, signal = _dot(d, d), _dot(left, left)
        size, magnitude = np.abs(d), np.abs(left)
        self.count += left.size
        self.signal += signal
        self.energy += _dot(right, right)
        self.product += _dot(left, right)
        self.noise += noise
        self.signal_abs += float(magnitude.sum())
        self.noise_abs += float(size.sum())
        largest = float(size.max(initial=0.0))
        if not largest:
            self.bands[0] += left.size
            return
        self.above += int(np.count_nonzero(d > 0))
        self.below += int(np.count_nonzero(d < 0))
        ratio = np.divide(size, magnitude, out=magnitude)  # 0 / 0 is NaN, which is above no edge: no error
        above = [int(np.count_nonzero(ratio >= edge)) for edge in BAND_EDGES]
        self.bands += np.subtract([left.size, *above], [*above, 0])
        self.largest = max(self.largest, largest)
        self.max_relative = _raised(self.max_relative, ratio, left)
        if largest > self.max_absolute:
            self.max_absolute = _raised(self.max_absolute, size, left)

    def _finite(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        finite_l, finite_r = np.isfinite(left), np.isfinite(right)
        equal = ~finite_l & ~finite_r & ((left == right) | (np.isnan(left) & np.isnan(right)))
        both = finite_l & finite_r
        self.equal_nonfinite += int(np.count_nonzero(equal))
        self.broken += int(np.count_nonzero(~both & ~equal))
        return left[both], right[both]

    @property
    def shares(self) -> list[float] | None:
        """Fraction of the elements in each band of relative error."""
        return None if not self.count else [float(band) / self.count for band in self.bands]


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of the products, part by part."""
    whole = a.size - a.size % _PART
    parts = np.matmul(a[:whole].reshape(-1, 1, _PART), b[:whole].reshape(-1, _PART, 1))
    return float(parts.sum(dtype=np.float64)) + float(a[whole:] @ b[whole:])


def _plain(signal: float, noise: float, size: int) -> bool:
    """Sums of float32 squares that neither overflowed nor lost anything to underflow."""
    return 1e-24 * size < signal < 1e24 * size and noise < 1e24 * size


def _raised(maximum: float, values: np.ndarray, left: np.ndarray) -> float:
    """`maximum`, or the largest of the values that counts."""
    higher = values > maximum  # soon few are: a mask costs less than their copy
    higher &= left > LEAST
    return float(values[higher].max()) if higher.any() else maximum


def numbers(*arrays: np.ndarray) -> tuple[Array, ...]:
    """Tensors of any type as float64."""
    return tuple(array.astype(np.float64) for array in arrays)
