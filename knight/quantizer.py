"""The only rounding code: scale and zero point from a range, quantize, dequantize.

``q = saturate(round_half_even(x / scale) + zero_point)``, ``x' = scale * (q - zero_point)``, as the
ONNX operators QuantizeLinear and DequantizeLinear state it. Up to 16 bits, the arithmetic that decides an
integer is done in float32 with a float32 scale, because that is what runtimes do; float32 cannot hold every
32-bit integer, so biases are rounded in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from knight.types import FloatArray, IntArray, QParams, QuantSpec

SMALLEST_SCALE = np.float32(2.0**-100)
"""Scales below this are raised to it: their products with another scale must stay normal numbers."""


def params_from_range(low: ArrayLike, high: ArrayLike, spec: QuantSpec) -> QParams:
    """Scale and zero point for the clipping range [low, high] (scalars, or a pair per channel or block).

    The range is widened to hold zero, which must have an exact integer. A range of no width (all
    zeros) gets scale 1. Symmetric unsigned means low = 0, unless the spec is centred.
    """
    low_array = np.minimum(np.asarray(low, np.float64), 0.0)
    high_array = np.maximum(np.asarray(high, np.float64), 0.0)
    if spec.symmetric:
        # In [-128, 127] the positive side has the fewer steps; it decides, so that nothing saturates.
        mirrored = spec.signed or spec.centred
        bound = np.maximum(high_array, -low_array) if mirrored else high_array
        scale = bound / (spec.qmax - spec.fixed_zero)
        zero_point = np.full(scale.shape, spec.fixed_zero)
    else:
        scale = (high_array - low_array) / (spec.qmax - spec.qmin)
        with np.errstate(invalid="ignore", divide="ignore"):
            zero_point = np.rint(spec.qmin - low_array / scale)
    degenerate = ~(scale > 0)
    scale = np.where(degenerate, 1.0, np.maximum(scale, SMALLEST_SCALE))
    zero_point = np.clip(np.where(degenerate, spec.fixed_zero, zero_point), spec.qmin, spec.qmax)
    return QParams(spec, np.asarray(scale, np.float32), np.asarray(zero_point, spec.dtype))


def extremes(x: FloatArray, spec: QuantSpec) -> tuple[FloatArray, FloatArray]:
    """The least and the greatest number, zero among them, of each part of `x` that has a scale of its own.

    Each is 0-d, or has one number per channel along `spec.axis`, or per block as `QParams.scale` does.
    """
    if spec.axis is None:
        return x.min(initial=0.0), x.max(initial=0.0)
    if spec.block_size is None:
        others = tuple(axis for axis in range(x.ndim) if axis != spec.axis)
        return x.min(axis=others, initial=0.0), x.max(axis=others, initial=0.0)
    starts = np.arange(0, x.shape[spec.axis], spec.block_size)
    low = np.minimum.reduceat(x, starts, spec.axis)
    return np.minimum(low, 0), np.maximum(np.maximum.reduceat(x, starts, spec.axis), 0)


def _along(values: NDArray[Any], spec: QuantSpec, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """The scales or zero points `values`, shaped to broadcast against a tensor of `shape`."""
    values = values.astype(dtype)
    if spec.axis is None or values.ndim == 0:
        return values
    if spec.block_size is not None:
        return values.take(np.arange(shape[spec.axis]) // spec.block_size, spec.axis)
    broadcast = [1] * len(shape)
    broadcast[spec.axis] = -1
    return values.reshape(broadcast)


def quantize(x: FloatArray, params: QParams) -> IntArray:
    """Integers of `x`, any shape, in the spec's dtype."""
    spec = params.spec
    working = np.float32 if spec.bits <= 16 else np.float64
    scale = _along(params.scale, spec, x.shape, working)
    zero_point = _along(params.zero_point, spec, x.shape, working)
    with np.errstate(over="ignore"):  # what is too large for a float saturates like any other
        steps = np.rint(x.astype(working, copy=False) / scale)
    integers: IntArray = np.clip(steps + zero_point, spec.qmin, spec.qmax).astype(spec.dtype)
    return integers


def dequantize(q: IntArray, params: QParams) -> FloatArray:
    """Real numbers (float32) of the integers `q`."""
    scale = _along(params.scale, params.spec, q.shape, np.float32)
    zero_point = _along(params.zero_point, params.spec, q.shape, np.float32)
    real: FloatArray = (q.astype(np.float32) - zero_point) * scale
    return real


def fake_quantize(x: FloatArray, params: QParams) -> FloatArray:
    """`x` after a round trip through the integers."""
    return dequantize(quantize(x, params), params)
