"""kl: the threshold at which the quantized distribution tells most about the original one.

S. Migacz, "8-bit Inference with TensorRT", GTC 2017: for a threshold T on ``|x|``, P is the histogram
up to T with everything beyond it added to the last bin; Q is the same histogram without the outliers,
each quantization step's count spread evenly over the step's bins that are not empty. The T with the
least ``KL(P || Q) = sum(P * log(P / Q))`` wins.

- The steps are those that the spec really has: 2**(b-1) for a symmetric signed tensor, all 2**b for
  a one-sided one under an unsigned or asymmetric spec, in between where an asymmetric range is two-sided.
- Exact zeros are representable under every T and say nothing about it; after a Relu they would
  outweigh all else. The zero bin is cut to its neighbour, as in NVIDIA's later implementations.
- Only the upper edges of bins that are not empty are candidates, which keeps Q above zero wherever P is.
- The number of steps is the least candidate, in bins; a spec with more steps than there are bins has
  nothing to gain from clipping and gets the full range.

With cumulative sums of the counts, a candidate costs one look-up per step, and all are scored at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knight.calibration._candidates import clipped_at, full_range
from knight.observer import Histogram
from knight.quantizer import params_from_range
from knight.types import QuantSpec

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_CANDIDATES = 256


def clipping_range(histogram: Histogram, spec: QuantSpec, percent: float) -> tuple[float, float]:
    """The range with the least divergence for `spec`. `percent` plays no part."""
    counts = histogram.magnitudes().astype(np.float64)
    if counts.size > 1:
        counts[0] = min(counts[0], counts[1])
    ends = _candidates(counts)
    steps = _step_sizes(histogram, spec, ends)
    usable = steps >= 1
    ends, steps = ends[usable], steps[usable]
    if not ends.size:
        return full_range(histogram)
    best = int(ends[np.argmin(_divergences(counts, ends, steps))])
    return full_range(histogram) if best == counts.size else clipped_at(histogram, best * histogram.width)


def _candidates(counts: Array) -> Index:
    """Thresholds in bins, ascending: evenly spaced, each moved down to the end of a bin that is not empty."""
    used = np.flatnonzero(counts) + 1
    wanted = np.linspace(0, counts.size, _CANDIDATES + 1)[1:]
    return used[np.unique(np.searchsorted(used, wanted, side="right") - 1)] if used.size else used


def _step_sizes(histogram: Histogram, spec: QuantSpec, ends: Index) -> Array:
    """The quantization step, in bins, of each candidate."""
    low, high = full_range(histogram)
    thresholds = ends * histogram.width
    params = params_from_range(np.maximum(low, -thresholds), np.minimum(high, thresholds), spec)
    return np.asarray(params.scale.astype(np.float64) / histogram.width)


def _divergences(counts: Array, ends: Index, steps: Array) -> Array:
    """``KL(P || Q)`` of every candidate. `ends` (n,) and `steps` (n,) are in bins."""
    total = counts.sum()
    below = np.concatenate([[0.0], np.cumsum(counts)])
    used = np.concatenate([[0.0], np.cumsum(counts > 0)])
    entropy = np.concatenate([[0.0], np.cumsum(_x_log_x(counts))])

    inside = below[ends]
    outliers = total - inside
    last = counts[ends - 1]
    p_log_p = entropy[ends] - _x_log_x(last) + _x_log_x(last + outliers)

    cells = int(np.ceil((ends / steps).max())) + 1
    edges = np.minimum(np.rint(np.arange(cells + 1) * steps[:, None]), ends[:, None]).astype(np.intp)
    in_cell, used_in_cell = np.diff(below[edges]), np.diff(used[edges])
    log_q = np.log(in_cell / np.maximum(used_in_cell, 1), out=np.zeros_like(in_cell), where=in_cell > 0)
    last_cell = (edges[:, 1:] >= ends[:, None]).argmax(axis=1)
    p_log_q = (in_cell * log_q).sum(axis=1) + outliers * log_q[np.arange(ends.size), last_cell]
    return np.asarray((p_log_p - p_log_q) / total - np.log(total) + np.log(inside))


def _x_log_x(x: Array) -> Array:
    return np.asarray(x * np.log(x, out=np.zeros_like(x), where=x > 0))
