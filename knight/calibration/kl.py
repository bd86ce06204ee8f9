"""kl: the threshold at which the quantized distribution tells most about the original one.

S. Migacz, "8-bit Inference with TensorRT", GTC 2017: for a threshold T on ``|x|``, P is the histogram
up to T with everything beyond it added to the last bin; Q is the same histogram without the outliers,
each quantization step's count spread evenly over the step's bins that are not empty. The T with the
least ``KL(P || Q) = sum(P * log(P / Q))`` wins.

- The steps are those that the spec really has, centred on the numbers that it represents: 2**(b-1) for a
  symmetric signed tensor, all 2**b for a one-sided one under an unsigned or asymmetric spec.
- Only the upper edges of bins that are not empty are candidates, which keeps Q above zero wherever P is.
- A spec with more steps than there are bins has nothing to gain from clipping and gets the full range.

A fine histogram shows structure inside a step that is no loss at all, and that would drive T down:

- Exact zeros are left out (the zero bin is cut to its neighbour, as NVIDIA's later implementations do), and
  so is all that happens inside the step around zero, where Gelu, Silu and Softmax pile up their values.
- Bins that stick out of their surroundings are cut to the median there. They are single values that many
  elements share (flat background, the bias of a dead channel). Outliers added to one would cost next to
  nothing, so the last step, too, is taken without it.
- n counts drawn from one even density differ from their mean by chance; the (n - 1) / 2 nats (Wilks)
  which that adds on average are taken off. Without it, tensors with few elements are clipped too much.

Outliers count in full in any case. With cumulative sums, a candidate costs one look-up per step, and all
are scored at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from knight.calibration import Method
from knight.calibration._candidates import clipped_at, full_range
from knight.observer import Histogram
from knight.quantizer import params_from_range
from knight.types import QuantSpec

rank = 4

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_CANDIDATES = 256
_DRAW = 1e-9  # nats; the widest of equals wins: a tensor of few distinct values has many that lose nothing
_SURROUNDINGS = 8  # bins on each side that a bin is compared with


def clipping_range(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """The range with the least divergence for `spec`."""
    counts = histogram.magnitudes().astype(np.float64)
    if counts.size > 1:
        counts[0] = min(counts[0], counts[1])
    ends = _candidates(counts)
    steps = _step_sizes(histogram, spec, ends)
    usable = steps >= 1
    ends, steps = ends[usable], steps[usable]
    if not ends.size:
        return full_range(histogram)
    divergences = _divergences(counts, ends, steps)
    best = int(ends[divergences <= divergences.min() + _DRAW][-1])
    return full_range(histogram) if best == counts.size else clipped_at(histogram, best * histogram.width)


def _candidates(counts: Array) -> Index:
    """Thresholds in bins, ascending: evenly spaced, each moved down to the end of a bin that is not empty."""
    used = np.flatnonzero(counts) + 1
    wanted = np.linspace(0, counts.size, _CANDIDATES + 1)[1:]
    nearest = np.unique(np.searchsorted(used, wanted, side="right") - 1)
    return used[nearest[nearest >= 0]]


def _step_sizes(histogram: Histogram, spec: QuantSpec, ends: Index) -> Array:
    """The quantization step, in bins, of each candidate."""
    low, high = full_range(histogram)
    thresholds = ends * histogram.width
    params = params_from_range(np.maximum(low, -thresholds), np.minimum(high, thresholds), spec)
    return np.asarray(params.scale.astype(np.float64) / histogram.width)


@dataclass(frozen=True)
class _Cells:
    """The bins of each candidate cut into quantization steps; all arrays (candidates, steps)."""

    edges: Index  # (candidates, steps + 1)

    @classmethod
    def of(cls, ends: Index, steps: Array) -> _Cells:
        number = int(np.ceil((ends / steps).max())) + 1
        middles = (np.arange(number) + 0.5) * steps[:, None]
        inner = np.minimum(np.rint(middles), ends[:, None]).astype(np.intp)
        return cls(np.concatenate([np.zeros((ends.size, 1), np.intp), inner], axis=1))

    def sums(self, values: Array) -> Array:
        """`values`, one per bin, added up over each step."""
        return np.asarray(np.diff(_running(values)[self.edges]))

    @property
    def last(self) -> tuple[Index, Index]:
        """Where, in a result of `sums`, each candidate's last step is."""
        step = (self.edges[:, 1:] >= self.edges[:, -1:]).argmax(axis=1)
        return np.arange(step.size), step


def _divergences(counts: Array, ends: Index, steps: Array) -> Array:
    """``KL(P || Q)`` of every candidate. `ends` (n,) and `steps` (n,) are in bins."""
    cells = _Cells.of(ends, steps)
    total = counts.sum()
    inside = _running(counts)[ends]
    calm = _without_peaks(counts)
    loss = _rounding_loss(calm, cells)
    # At least 1: the last bin is never empty, also where it stands alone.
    loss += _clipping_loss(np.minimum(counts, np.maximum(calm, 1)), ends, total - inside, cells)
    return np.asarray(loss / total + np.log(inside / total))


def _rounding_loss(counts: Array, cells: _Cells) -> Array:
    """``sum(c * log(c / q))`` over the bins of all steps but that of zero, less what chance makes of it."""
    in_cell, used = cells.sums(counts)[:, 1:], cells.sums((counts > 0).astype(np.float64))[:, 1:]
    even = _x_log_x(in_cell) - in_cell * np.log(np.maximum(used, 1))
    chance = np.maximum(used - 1, 0) / 2
    return np.asarray((cells.sums(_x_log_x(counts))[:, 1:] - even - chance).sum(axis=1))


def _clipping_loss(counts: Array, ends: Index, outliers: Array, cells: _Cells) -> Array:
    """What adding the `outliers` to P's last bin, but not to Q's, adds to the sum."""
    last = counts[ends - 1]
    in_cell, used = cells.sums(counts)[cells.last], cells.sums((counts > 0).astype(np.float64))[cells.last]
    return _x_log_x(last + outliers) - _x_log_x(last) - outliers * np.log(in_cell / used)


def _without_peaks(counts: Array) -> Array:
    """`counts`, none above the median of its surroundings (mirrored at zero, empty beyond the end)."""
    if counts.size <= _SURROUNDINGS:
        return counts
    padded = np.concatenate([counts[_SURROUNDINGS:0:-1], counts, np.zeros(_SURROUNDINGS)])
    windows = sliding_window_view(padded, 2 * _SURROUNDINGS + 1)
    median = np.partition(windows, _SURROUNDINGS, axis=1)[:, _SURROUNDINGS]
    return np.asarray(np.minimum(counts, median))


def _running(values: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(values)])


def _x_log_x(x: Array) -> Array:
    return np.asarray(x * np.log(x, out=np.zeros_like(x), where=x > 0))


method = Method(clipping_range)
