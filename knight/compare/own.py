"""Sums per channel of one layer's own error: the layer quantized alone, its inputs those of the float model.

Three tensors of one shape are compared: l of the float model; m, what the layer makes with its quantized
weights and bias before its output is rounded; q, that after rounding. ``m - l`` is what the weights cost,
``q - m`` what the output's scale costs. Memory is a few numbers per channel, whatever the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CHUNK = 66_000  # elements at a time: temporaries stay in the cache, threads seldom wait for each other
_LONGEST = 1 << 13  # elements of one product: it stays in the thread that calls BLAS
_SAMPLED = 1 << 14  # pairs kept for histograms


class Own:
    """Running sums of one layer; `sums` holds one row of `SUMS` per channel.

    channel_axis: of the tensors; None (or an axis that they do not have) takes all as one channel. low, high:
    the real numbers that the output's integers reach, None where the output is not rounded.
    """

    SUMS = ("count", "signal", "noise", "shift", "weight_noise", "weight_shift")
    """Per channel: elements, sum l^2, sum (q-l)^2, sum (q-l), sum (m-l)^2, sum (m-l)."""

    def __init__(self, channel_axis: int | None, low: float | None = None, high: float | None = None) -> None:
        self.channel_axis = channel_axis
        self.limits = None if low is None or high is None else (low, high)
        self.sums: dict[str, Array] = {}
        self.low = np.zeros(0)
        self.high = np.zeros(0)
        self.rounding = 0.0  # sum (q - m)^2, over all channels
        self.clipped = 0
        self.clipped_noise = 0.0
        self.reaches: list[tuple[float, int]] = []
        self.calls = 0

    def update(self, reference: np.ndarray, middle: np.ndarray | None, result: np.ndarray) -> None:
        """Adds one forward call; `middle` is None where the layer has no constants of its own (m = l)."""
        self.calls += 1
        if not reference.size:
            return
        views = [None if array is None else self._by_channel(array) for array in (reference, middle, result)]
        left, between, right = views
        assert left is not None and right is not None
        channels = left.shape[1]
        if not self.sums:
            self.sums = {name: np.zeros(channels) for name in self.SUMS}
            self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        if channels != self.low.size:
            raise ValueError(f"{channels} channels, earlier {self.low.size}")
        reach, clips = self._extremes(left)
        sides = [left, right] if between is None else [left, right, between]
        dtype = _arithmetic(reach, sides)
        for place in _blocks(left.shape):
            parts = [side[place] for side in sides]
            self._add(place[1], parts, dtype)
            if clips:
                self._clip(parts[0])

    def _by_channel(self, array: np.ndarray) -> np.ndarray:
        """`array` as (outer, channels, inner)."""
        axis = self.channel_axis
        if axis is None or axis >= array.ndim or array.ndim < 2:
            return array.reshape(1, 1, -1)
        before = int(np.prod(array.shape[:axis]))
        return array.reshape(before, array.shape[axis], -1)

    def _extremes(self, left: np.ndarray) -> tuple[float, bool]:
        """Notes how far each channel reaches. Returns how far all do, and whether any may pass the limits."""
        low, high = _reach(left)
        if not np.isfinite(low.sum() + high.sum()):
            known = np.isfinite(left)
            low, _ = _reach(np.where(known, left, np.inf))
            _, high = _reach(np.where(known, left, -np.inf))
            low, high = np.where(low <= high, (low, high), 0.0)
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)
        reach = float(max(high.max(initial=0.0), -low.min(initial=0.0)))
        self.reaches = sorted([*self.reaches, (reach, self.calls)], reverse=True)[:2]
        return reach, self.limits is not None and not self.limits[
            0
        ] <= low.min() <= high.max() <= self.limits[1]

    def _add(self, channel: slice, parts: Sequence[np.ndarray], dtype: type) -> None:
        rows = _errors(parts, dtype)
        squares = [_squares(row) for row in rows]
        if not math.isfinite(sum(float(energies.sum()) for energies in squares)):
            rows = _finite(_errors(parts, np.float64))
            squares = [_squares(row) for row in rows]
        sums, (signal, noise, *weight_noise) = self.sums, squares
        sums["count"][channel] += rows[0].shape[1]
        sums["signal"][channel] += signal
        sums["noise"][channel] += noise
        sums["shift"][channel] += rows[1].sum(axis=1)
        if weight_noise:
            sums["weight_noise"][channel] += weight_noise[0]
            sums["weight_shift"][channel] += rows[2].sum(axis=1)
        self.rounding += float(squares[-1].sum())

    def _clip(self, left: np.ndarray) -> None:
        assert self.limits is not None
        low, high = self.limits
        outside = left < low
        outside |= left > high
        outside &= np.isfinite(left)
        if outside.any():
            cut = left[outside].astype(np.float64)
            lost = cut - cut.clip(low, high)
            self.clipped += int(np.count_nonzero(lost))
            self.clipped_noise += float(lost @ lost)

    def total(self, name: str) -> float:
        """A sum over all channels."""
        return float(self.sums[name].sum()) if self.sums else 0.0


def _reach(array: np.ndarray) -> tuple[Array, Array]:
    """(channels,) each: the extremes of (outer, channels, inner)."""
    with np.errstate(invalid="ignore"):
        low, high = array.min(axis=2), array.max(axis=2)
    return low.min(axis=0).astype(np.float64), high.max(axis=0).astype(np.float64)


def _arithmetic(reach: float, sides: Sequence[np.ndarray]) -> type:
    """float32 where that is what the models compute in and squares stay far from its ends, else float64.

    A block's sums are then right to about 1e-6 of themselves (0.00001 dB), in a third of the time.
    """
    small = all(side.dtype == np.float32 for side in sides)
    return np.float32 if small and 1e-12 < reach < 1e12 else np.float64


def _errors(parts: Sequence[np.ndarray], dtype: type) -> list[np.ndarray]:
    """l, q - l, and with a middle m - l and q - m, each (channels, elements), of blocks (outer, channels,
    inner).
    """
    channels = parts[0].shape[1]
    rows: list[np.ndarray] = [
        np.asarray(part.transpose(1, 0, 2).reshape(channels, -1), dtype) for part in parts
    ]
    left, right, *between = rows
    with np.errstate(invalid="ignore", over="ignore"):
        return [left, right - left, *(row for middle in between for row in (middle - left, right - middle))]


def _finite(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """`rows` with zeros where any of them is not finite: that is counted elsewhere, it has no share here."""
    known = np.logical_and.reduce([np.isfinite(row) for row in rows])
    return [np.where(known, row, 0.0) for row in rows]


def _squares(row: np.ndarray) -> np.ndarray:
    """(channels,): the energy of each."""
    with np.errstate(invalid="ignore", over="ignore"):
        energies: np.ndarray = np.matmul(row[:, None, :], row[:, :, None])[:, 0, 0]
    return energies


def _blocks(shape: tuple[int, ...]) -> list[tuple[slice, slice, slice]]:
    """Slices that cut (outer, channels, inner) into parts of about `_CHUNK` elements."""
    outer, channels, inner = shape
    length = -(-inner // -(-inner // _LONGEST))  # equal parts of a channel
    if inner > length:
        rows = max(1, _CHUNK // length)
        return [
            (slice(o, o + 1), slice(c, c + rows), slice(i, i + length))
            for o in range(outer)
            for c in range(0, channels, rows)
            for i in range(0, inner, length)
        ]
    rows = max(1, _CHUNK // max(1, inner))
    if channels >= rows:
        return [
            (slice(o, o + 1), slice(c, c + rows), slice(None))
            for o in range(outer)
            for c in range(0, channels, rows)
        ]
    step = max(1, rows // max(1, channels))
    return [(slice(o, o + step), slice(0, channels), slice(None)) for o in range(0, outer, step)]


@dataclass
class Samples:
    """Pairs of elements, one drawn from each of many equal parts of a call; bounded: when full, every second
    goes. Equal distances would meet the same columns of every picture.
    """

    per_call: int = 2048
    calls: int = 0
    reference: list[NDArray[np.float32]] = field(default_factory=list)
    result: list[NDArray[np.float32]] = field(default_factory=list)
    held: int = 0

    def update(self, reference: np.ndarray, result: np.ndarray) -> None:
        """Adds some elements of two tensors of one size."""
        flat, other = reference.reshape(-1), result.reshape(-1)
        places = self._places(flat.size)
        self.reference.append(flat[places].astype(np.float32))
        self.result.append(other[places].astype(np.float32))
        self.held += self.reference[-1].size
        if self.held > _SAMPLED:
            for kept in (self.reference, self.result):
                kept[:] = [np.concatenate(kept)[::2]]
            self.per_call = max(64, self.per_call // 2)
            self.held = self.reference[0].size

    def _places(self, size: int) -> NDArray[np.int64] | slice:
        """Which of `size` elements to take: the same in every run, others in every call."""
        self.calls += 1
        if size <= self.per_call:
            return slice(None)
        drawn = np.random.default_rng((self.calls, size)).random(self.per_call)
        places = (np.arange(self.per_call) + drawn) * (size / self.per_call)
        return places.astype(np.int64).clip(max=size - 1)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """All that is held."""
        if not self.held:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        return np.concatenate(self.reference), np.concatenate(self.result)
