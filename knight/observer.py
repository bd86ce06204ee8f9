"""What is remembered of a value over a data set: its extremes, a histogram, or either per channel.

An *observer* fills while the model runs; whatever it keeps depends on the data alone: not on its order, not
on how it was cut into calls, and two observers of one kind merge without loss. `OBSERVERS` has the kinds by
name; what reads statistics declares which it needs.

The bin width is a power of two and the bins are aligned at zero: bin ``k`` holds ``k <= x / width < k + 1``.
Scaling a float32 by a power of two is exact, and doubling the width merges whole bins. Memory is fixed by
`BINS`, whatever the number of samples.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from knight.errors import DataError
from knight.types import FloatArray

BINS = 8192
"""Bins on each side of zero. The largest magnitude falls into the upper half of them."""

_SMALLEST_EXPONENT = -149  # of the smallest float32: every magnitude has a bin from the start
_LARGEST = float(np.finfo(np.float32).max)
_MOST = 1 << 53  # values that one observer can have seen: sums of many stay within int64
_SUM = re.compile(r"-?[0-9]{1,1000}/[1-9][0-9]{0,999}")  # float64 sums need less than 700 digits
_CHUNK = 1 << 16  # elements handled at a time, so that the temporaries stay in the cache


@dataclass(frozen=True)
class Extremes:
    """minimum, maximum: of all finite values, exactly; 0 where there were none."""

    minimum: float
    maximum: float


@dataclass(frozen=True)
class Histogram(Extremes):
    """Counts over contiguous bins: ``counts[i]`` values ``x`` with ``first + i <= x / width < first + i +
    1``. The outermost bins are never empty.
    """

    counts: NDArray[np.int64]
    first: int
    width: float

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


State = Mapping[str, NDArray[Any]]
"""What an observer keeps, as arrays: enough to make it again."""

Self = TypeVar("Self")


class Statistic(Protocol):
    """An observer of any kind."""

    def update(self, x: FloatArray) -> None:
        """Adds the values of `x`, any shape. Infinite values are counted apart; NaN is a DataError."""

    def merge(self: Self, other: Self) -> None:
        """Adds all that `other` has seen; the result is the one that a single observer would have."""

    def state(self) -> State:
        """All that is kept, as arrays."""

    def restore(self, state: State) -> None:
        """Becomes the observer that `state`, of the same keys, types and axes, was taken from.

        Raises DataError, its text beginning with a key, for numbers that no observer can have.
        """


class ExtremesObserver:
    """Keeps the smallest and the largest value, and how many were infinite."""

    def __init__(self) -> None:
        self.minimum = math.inf
        self.maximum = -math.inf
        self.infinite = 0

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
        self._keep(flat, float(low), float(high))

    def _keep(self, flat: NDArray[np.float32], low: float, high: float) -> None:
        """What a more curious observer remembers of finite values from `low` to `high`."""

    def merge(self, other: ExtremesObserver) -> None:
        """Adds all that `other` has seen; the result is the one that a single observer would have."""
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.infinite += other.infinite

    @property
    def empty(self) -> bool:
        """True when no finite value has been seen."""
        return self.minimum > self.maximum

    def extremes(self) -> Extremes:
        """An observer that saw nothing answers like one that saw a single zero."""
        return Extremes(0.0, 0.0) if self.empty else Extremes(self.minimum, self.maximum)

    def answer(self) -> Extremes:
        """The extremes."""
        return self.extremes()

    def state(self) -> State:
        """All that is kept, as arrays."""
        return {
            "extremes": np.array([self.minimum, self.maximum], np.float64),
            "infinite": np.array(self.infinite, np.int64),
        }

    def restore(self, state: State) -> None:
        """Becomes the observer that `state` was taken from. Raises DataError for impossible numbers."""
        _check_extremes("extremes", state["extremes"][:1], state["extremes"][1:])
        if not 0 <= state["infinite"] <= _MOST:
            raise DataError(f"infinite is {state['infinite']}, which is no count")
        self.minimum, self.maximum = map(float, state["extremes"])
        self.infinite = int(state["infinite"])


class Observer(ExtremesObserver):
    """Keeps the extremes and a histogram."""

    def __init__(self) -> None:
        super().__init__()
        self._exponent = _SMALLEST_EXPONENT
        self._positive = np.zeros(BINS, np.int64)
        self._negative = np.zeros(BINS, np.int64)

    def _keep(self, flat: NDArray[np.float32], low: float, high: float) -> None:
        self._widen(_exponent_for(max(high, -low)))
        for start in range(0, flat.size, _CHUNK):
            self._count(flat[start : start + _CHUNK], signed=low < 0)

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

    def merge(self, other: ExtremesObserver) -> None:
        """Adds all that `other`, of this kind too, has seen."""
        assert isinstance(other, Observer)
        super().merge(other)
        self._widen(other._exponent)
        shift = self._exponent - other._exponent
        self._positive = self._positive + _merge_bins(other._positive, shift)
        self._negative = self._negative + _merge_bins(other._negative, shift)

    def state(self) -> State:
        """All that is kept, as arrays."""
        bins = {"exponent": np.array(self._exponent, np.int64)}
        return {**super().state(), **bins, "positive": self._positive, "negative": self._negative}

    def restore(self, state: State) -> None:
        """Becomes the observer that `state` was taken from. Raises DataError for impossible numbers."""
        super().restore(state)
        self._exponent = int(state["exponent"])
        self._positive, self._negative = state["positive"].copy(), state["negative"].copy()
        if not _SMALLEST_EXPONENT <= self._exponent <= _exponent_for(_LARGEST):
            raise DataError(f"exponent is {self._exponent}, which no float32 needs")
        counts = np.concatenate([self._negative[::-1], self._positive])
        if counts.min() < 0 or counts.sum(dtype=np.float64) > _MOST:
            raise DataError("positive and negative are no counts")
        used = np.flatnonzero(counts)[[0, -1]] - BINS if counts.any() else np.zeros(0, np.int64)
        ends = [] if self.empty else [self.minimum, self.maximum]
        if [math.floor(math.ldexp(end, -self._exponent)) for end in ends] != used.tolist():
            raise DataError("positive and negative have other ends than the extremes")

    def histogram(self) -> Histogram:
        """The counts so far. An observer that saw nothing answers like one that saw a single zero."""
        if self.empty:
            return Histogram(0.0, 0.0, np.ones(1, np.int64), 0, 1.0)
        both = np.concatenate([self._negative[::-1], self._positive])
        used = np.flatnonzero(both)
        first, last = int(used[0]), int(used[-1])
        width = math.ldexp(1.0, self._exponent)
        return Histogram(self.minimum, self.maximum, both[first : last + 1].copy(), first - BINS, width)

    def answer(self) -> Histogram:
        """The histogram."""
        return self.histogram()


class ChannelExtremesObserver:
    """Keeps the smallest and the largest value of each channel (axis 1, the last axis of a matrix)."""

    def __init__(self) -> None:
        self.minimum = np.zeros(0, np.float32)
        self.maximum = np.zeros(0, np.float32)

    def update(self, x: FloatArray) -> None:
        """Adds the finite values of `x` (N, C, ...); what has fewer axes is one channel."""
        rows = _by_channel(x)
        if not rows.size:
            return
        self._widen(
            rows.min(axis=1, where=np.isfinite(rows), initial=np.inf),
            rows.max(axis=1, where=np.isfinite(rows), initial=-np.inf),
        )

    def merge(self, other: ChannelExtremesObserver) -> None:
        """Adds all that `other` has seen."""
        if other.minimum.size:
            self._widen(other.minimum, other.maximum)

    def _widen(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        if not self.minimum.size:
            self.minimum, self.maximum = low, high
            return
        _check_channels(self.minimum.size, low.size)
        self.minimum, self.maximum = np.minimum(self.minimum, low), np.maximum(self.maximum, high)

    def answer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The smallest and the largest values, each (C,); empty where nothing was seen."""
        return self.minimum, self.maximum

    def state(self) -> State:
        """All that is kept, as arrays."""
        return {"minimum": self.minimum, "maximum": self.maximum}

    def restore(self, state: State) -> None:
        """Becomes the observer that `state` was taken from. Raises DataError for impossible numbers."""
        _check_extremes("minimum and maximum", state["minimum"], state["maximum"])
        self.minimum, self.maximum = state["minimum"].copy(), state["maximum"].copy()


class ChannelMeanObserver:
    """Keeps the sum and the number of each channel's values.

    Each call's sums are float64; adding those up is exact, so that the order of the calls plays no part.
    """

    def __init__(self) -> None:
        self._sums: list[Fraction] = []
        self._count = 0

    def update(self, x: FloatArray) -> None:
        """Adds the values of `x` (N, C, ...); what has fewer axes is one channel. NaN, Inf: a DataError."""
        rows = _by_channel(x)
        if not rows.size:
            return
        sums = rows.sum(axis=1, dtype=np.float64)
        if not np.isfinite(sums).all():
            raise DataError("has no mean (it holds NaN or Inf)")
        self._add([Fraction(float(number)) for number in sums], rows.shape[1])

    def merge(self, other: ChannelMeanObserver) -> None:
        """Adds all that `other` has seen."""
        if other._sums:
            self._add(other._sums, other._count)

    def _add(self, sums: list[Fraction], count: int) -> None:
        if self._sums:
            _check_channels(len(self._sums), len(sums))
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else list(sums)
        self._count += count

    def mean(self) -> NDArray[np.float64]:
        """(C,); empty where nothing was seen."""
        return np.array([float(total / self._count) for total in self._sums])

    def answer(self) -> NDArray[np.float64]:
        """The means."""
        return self.mean()

    def state(self) -> State:
        """All that is kept, as arrays."""
        exact = [f"{total.numerator}/{total.denominator}" for total in self._sums]
        return {"sums": np.array(exact, np.str_), "count": np.array(self._count, np.int64)}

    def restore(self, state: State) -> None:
        """Becomes the observer that `state` was taken from. Raises DataError for impossible numbers."""
        texts = [str(text) for text in state["sums"]]
        if not all(_SUM.fullmatch(text) for text in texts):
            raise DataError("sums are no fractions such as -3/8")
        self._sums, self._count = [Fraction(text) for text in texts], int(state["count"])
        if any(abs(total) > sys.float_info.max for total in self._sums):
            raise DataError("sums are beyond any number of samples")
        if not 0 <= self._count <= _MOST or bool(self._count) != bool(texts):
            raise DataError(f"count is {self._count}, and there are {len(texts)} sums")


OBSERVERS: Mapping[str, type[Any]] = {
    "extremes": ExtremesObserver,
    "histogram": Observer,
    "channel_extremes": ChannelExtremesObserver,
    "channel_mean": ChannelMeanObserver,
}
"""The kinds of statistics. A histogram answers what extremes do as well."""


def _by_channel(x: FloatArray) -> NDArray[np.float32]:
    """(C, values per channel) of a tensor (N, C, ...); one channel where there is no axis 1."""
    array = np.asarray(x, np.float32)
    if array.ndim < 2:
        return array.reshape(1, -1)
    return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)


def _check_extremes(key: str, low: NDArray[np.floating], high: NDArray[np.floating]) -> None:
    """Raises DataError unless each pair is in order and finite; it is (inf, -inf) where nothing was seen."""
    if low.shape != high.shape:
        raise DataError(f"{key} have {low.size} and {high.size} channels")
    seen = ~((low == np.inf) & (high == -np.inf))
    if not ((low <= high) & (np.abs(low) <= _LARGEST) & (np.abs(high) <= _LARGEST))[seen].all():
        raise DataError(f"{key} are no finite float32 numbers, the smaller one first")


def _check_channels(before: int, now: int) -> None:
    if before != now:
        raise DataError(f"has {now} channels, and had {before} in an earlier sample")


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
