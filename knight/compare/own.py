"""Sums per channel of one layer's own error: the layer quantized alone, its inputs those of the float model.

Three tensors of one shape are compared: l of the float model; m, what the layer makes with its quantized
weights and bias before its output is rounded; q, that after rounding. ``m - l`` is what the weights cost,
``q - m`` what the output's scale costs. Memory is a few numbers per channel, whatever the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CHUNK = 1 << 13  # elements at a time: temporaries stay in the cache, and BLAS in the thread that calls it
_SAMPLED = 1 << 14  # pairs kept for histograms


class Own:
    """Running sums of one layer; `sums` holds one row of `SUMS` per channel.

    channel_axis: of the tensors; None (or an axis that they do not have) takes all as one channel. low, high:
    the real numbers that the output's integers reach, None where the output is not rounded.
    """

    SUMS = ("count", "signal", "noise", "shift", "mixed", "weight_noise", "weight_shift")
    """Per channel: elements, sum l^2, sum (q-l)^2, sum (q-l), sum m l, sum (m-l)^2, sum (m-l)."""

    def __init__(self, channel_axis: int | None, low: float | None = None, high: float | None = None) -> None:
        self.channel_axis = channel_axis
        self.limits = None if low is None or high is None else (low, high)
        self.sums: dict[str, Array] = {}
        self.low = np.zeros(0)
        self.high = np.zeros(0)
        self.middle_energy = 0.0  # sum m^2, over all channels
        self.rounding = 0.0  # sum (q - m)^2
        self.turned = 0.0  # sum q m
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
        clips = self._extremes(left)
        sides = [left, right] if between is None else [left, right, between]
        room = np.empty(len(sides) * min(_CHUNK, left.size))  # fresh memory costs more than the arithmetic
        products = _Products(len(sides), channels)
        for place in _blocks(left.shape):
            rows = _differences([side[place] for side in sides], room)
            products.add(place[1], rows)
            if clips:
                self._clip(rows[0])
        self.sums["count"] += left.shape[0] * left.shape[2]
        self._take(products)

    def _by_channel(self, array: np.ndarray) -> np.ndarray:
        """`array` as (outer, channels, inner)."""
        axis = self.channel_axis
        if axis is None or axis >= array.ndim or array.ndim < 2:
            return array.reshape(1, 1, -1)
        before = int(np.prod(array.shape[:axis]))
        return array.reshape(before, array.shape[axis], -1)

    def _extremes(self, left: np.ndarray) -> bool:
        """Notes how far each channel reaches; whether something may be beyond the limits."""
        with np.errstate(invalid="ignore"):
            low, high = left.min(axis=2).min(axis=0), left.max(axis=2).max(axis=0)
        within = self.limits is None or (low.min() >= self.limits[0] and high.max() <= self.limits[1])
        low, high = np.nan_to_num(low.astype(np.float64)), np.nan_to_num(high.astype(np.float64))
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)
        reach = float(max(high.max(initial=0.0), -low.min(initial=0.0)))
        self.reaches = sorted([*self.reaches, (reach, self.calls)], reverse=True)[:2]
        return not within

    def _take(self, products: _Products) -> None:
        signal, noise, *weight_noise = products.squares
        left_off, *off_weighed = products.neighbours
        shift, *weight_shift = products.shifts
        rounding, middle, turned = noise, signal, signal + left_off
        mixed = signal
        if weight_noise:
            left_weighed = products.ends
            mixed = signal + left_weighed
            rounding = np.maximum(noise - 2 * off_weighed[0] + weight_noise[0], 0.0)
            middle = mixed + left_weighed + weight_noise[0]
            turned = mixed + left_off + off_weighed[0]
            self.sums["weight_noise"] += weight_noise[0]
            self.sums["weight_shift"] += weight_shift[0]
        for name, found in (("signal", signal), ("noise", noise), ("shift", shift), ("mixed", mixed)):
            self.sums[name] += found
        self.rounding += float(rounding.sum())
        self.middle_energy += float(middle.sum())
        self.turned += float(turned.sum())

    def _clip(self, left: Array) -> None:
        assert self.limits is not None
        low, high = self.limits
        outside = left < low
        outside |= left > high
        if not outside.any():
            return
        cut = left[outside]
        lost = cut - cut.clip(low, high)
        self.clipped += cut.size
        self.clipped_noise += float(lost @ lost)

    def total(self, name: str) -> float:
        """A sum over all channels."""
        return float(self.sums[name].sum()) if self.sums else 0.0


class _Products:
    """Sums of one call, per channel: of products of l, o = q - l and (where there is a middle) w = m - l.

    squares: ll, oo, ww. neighbours: lo, ow. ends: lw, with a middle. shifts: of o and w themselves.
    """

    def __init__(self, rows: int, channels: int) -> None:
        self.squares = np.zeros((rows, channels))
        self.neighbours = np.zeros((rows - 1, channels))
        self.ends = np.zeros(channels)
        self.shifts = np.zeros((rows - 1, channels))

    def add(self, channel: slice, rows: Array) -> None:
        """Adds a block of some channels, (rows, channels, elements)."""
        squares = _dot(rows, rows)
        if not np.isfinite(squares.sum()):
            # What is not finite is counted elsewhere and has no share in the sums.
            rows[:, ~np.isfinite(rows).all(axis=0)] = 0.0
            squares = _dot(rows, rows)
        self.squares[:, channel] += squares
        self.neighbours[:, channel] += _dot(rows[:-1], rows[1:])
        self.shifts[:, channel] += rows[1:].sum(axis=2)
        if len(rows) == 3:
            self.ends[channel] += _dot(rows[0], rows[2])


def _differences(sides: list[np.ndarray], room: Array) -> Array:
    """The first of some (outer, channels, inner) and by what the others differ from it, each as float64
    (channels, outer * inner); in `room`.
    """
    outer, channels, inner = sides[0].shape
    rows = room[: len(sides) * sides[0].size].reshape(len(sides), channels, outer * inner)
    for row, side in zip(rows, sides, strict=True):
        row.reshape(channels, outer, inner)[...] = side.transpose(1, 0, 2)
    with np.errstate(invalid="ignore", over="ignore"):
        rows[1:] -= rows[0]
    return rows


def _dot(a: Array, b: Array) -> Array:
    """Sums of products along the last axis."""
    products: Array = np.matmul(a[..., None, :], b[..., :, None])[..., 0, 0]
    return products


def _blocks(shape: tuple[int, ...]) -> list[tuple[slice, slice, slice]]:
    """Slices that cut (outer, channels, inner) into parts of about `_CHUNK` elements."""
    outer, channels, inner = shape
    if inner >= _CHUNK:
        return [
            (slice(o, o + 1), slice(c, c + 1), slice(i, i + _CHUNK))
            for o in range(outer)
            for c in range(channels)
            for i in range(0, inner, _CHUNK)
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
    """Pairs of elements drawn at equal distances from each call; bounded: when full, every second goes."""

    per_call: int = 2048
    reference: list[NDArray[np.float32]] = field(default_factory=list)
    result: list[NDArray[np.float32]] = field(default_factory=list)
    held: int = 0

    def update(self, reference: np.ndarray, result: np.ndarray) -> None:
        """Adds some elements of two tensors of one size."""
        flat, other = reference.reshape(-1), result.reshape(-1)
        step = max(1, flat.size // self.per_call)
        self.reference.append(flat[::step].astype(np.float32))
        self.result.append(other[::step].astype(np.float32))
        self.held += self.reference[-1].size
        if self.held > _SAMPLED:
            for kept in (self.reference, self.result):
                kept[:] = [np.concatenate(kept)[::2]]
            self.per_call = max(64, self.per_call // 2)
            self.held = self.reference[0].size

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """All that is held."""
        if not self.held:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        return np.concatenate(self.reference), np.concatenate(self.result)
