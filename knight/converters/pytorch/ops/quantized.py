"""Fake quantization, as aware training and PT2E leave it, becomes QuantizeLinear and DequantizeLinear.

torch rounds ``x * (1 / scale)``, ONNX ``x / scale``, both half to even: results differ by one step only where
the two products fall on different sides of a half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.converters.pytorch._translator import Translator
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

_DECOMPOSED = "torch.ops.quantized_decomposed."


@translates("torch.fake_quantize_per_tensor_affine")
def fake_quantize_per_tensor(
    t: Translator, input: ir.Value, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> ir.Value:
    return _pair(t, input, scale, zero_point, quant_min, quant_max, None)


@translates("torch.fake_quantize_per_channel_affine")
def fake_quantize_per_channel(
    t: Translator, input: ir.Value, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int
) -> ir.Value:
    return _pair(t, input, scale, zero_point, quant_min, quant_max, axis)


@translates("torch.fused_moving_avg_obs_fake_quant")
def fused_fake_quantize(
    t: Translator,
    input: ir.Value,
    observer_on: Any,
    fake_quant_on: Any,
    running_min: Any,
    running_max: Any,
    scale: Any,
    zero_point: Any,
    averaging_const: float,
    quant_min: int,
    quant_max: int,
    ch_axis: int,
    per_row_fake_quant: bool = False,
    symmetric_quant: bool = False,
) -> ir.Value:
    if not _numbers(fake_quant_on).any():
        return input
    axis = ch_axis if per_row_fake_quant else None
    return _pair(t, input, scale, zero_point, quant_min, quant_max, axis)


def _pair(
    t: Translator, x: ir.Value, scale: Any, zero_point: Any, low: int, high: int, axis: int | None
) -> ir.Value:
    scales, zeros, attributes = _parameters(t, scale, zero_point, low, high, axis)
    x = _clipped(t, x, scale, zero_point, low, high, axis)
    quantized = t.op("QuantizeLinear", x, scales, zeros, **attributes)
    return t.op("DequantizeLinear", quantized, scales, zeros, **attributes)


def _numbers(value: Any) -> np.ndarray:
    """Fixed numbers, from a buffer of the model or written down."""
    if not isinstance(value, ir.Value):
        return np.asarray(value)
    found = models.constant(value)
    if found is None:
        raise ModelError("a scale or zero point is computed from data; freeze the observers before saving")
    return found


def _parameters(
    t: Translator, scale: Any, zero_point: Any, low: int, high: int, axis: int | None
) -> tuple[ir.Value, ir.Value, dict[str, int]]:
    dtype = _integers(low, high)
    shape = () if axis is None else (-1,)
    scales = t.constant(_numbers(scale).astype(np.float32).reshape(shape), _name(scale))
    zeros = t.constant(np.rint(_numbers(zero_point)).astype(dtype).reshape(shape), _name(zero_point))
    return scales, zeros, {} if axis is None else {"axis": axis}


def _name(value: Any) -> str:
    return f"{value.name}" if isinstance(value, ir.Value) else ""


def _integers(low: int, high: int) -> np.dtype:
    for dtype in (np.uint8, np.int8):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return np.dtype(dtype)
    raise ModelError(f"quantized to {low} ... {high}; ONNX has pairs of 8 bits here")


def _clipped(
    t: Translator, x: ir.Value, scale: Any, zero_point: Any, low: int, high: int, axis: int | None
) -> ir.Value:
    """`x` within what `low` and `high` stand for, where the integers would hold more."""
    limits = np.iinfo(_integers(low, high))
    if (low, high) == (limits.min, limits.max):
        return x
    scales, zeros = _numbers(scale).astype(np.float32), _numbers(zero_point)
    bounds = [((bound - zeros) * scales).astype(np.float32) for bound in (low, high)]
    if axis is None:
        return t.op("Clip", x, *(t.constant(bound.reshape(())) for bound in bounds))
    shape = [1] * len(t.examples[0].shape)
    shape[axis] = -1
    least, most = (t.constant(bound.reshape(shape)) for bound in bounds)
    return t.op("Min", t.op("Max", x, least), most)


@translates(
    *(f"{_DECOMPOSED}quantize_per_tensor{overload}" for overload in ("", ".default", ".tensor")),
)
def quantize_per_tensor(
    t: Translator, input: ir.Value, scale: Any, zero_point: Any, quant_min: Any, quant_max: Any, dtype: Any
) -> ir.Value:
    low, high = int(quant_min), int(quant_max)
    x = _clipped(t, input, scale, zero_point, low, high, None)
    scales, zeros, _ = _parameters(t, scale, zero_point, low, high, None)
    return t.op("QuantizeLinear", x, scales, zeros)


@translates(
    *(f"{_DECOMPOSED}dequantize_per_tensor{overload}" for overload in ("", ".default", ".tensor")),
)
def dequantize_per_tensor(
    t: Translator,
    input: ir.Value,
    scale: Any,
    zero_point: Any,
    quant_min: Any,
    quant_max: Any,
    dtype: Any,
    *,
    out_dtype: Any = None,
) -> ir.Value:
    scales, zeros, _ = _parameters(t, scale, zero_point, int(quant_min), int(quant_max), None)
    return t.op("DequantizeLinear", _stored(t, input, zeros), scales, zeros)


@translates(*(f"{_DECOMPOSED}quantize_per_channel{overload}" for overload in ("", ".default")))
def quantize_per_channel(
    t: Translator,
    input: ir.Value,
    scales: Any,
    zero_points: Any,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: Any,
) -> ir.Value:
    x = _clipped(t, input, scales, zero_points, quant_min, quant_max, axis)
    scale, zeros, attributes = _parameters(t, scales, zero_points, quant_min, quant_max, axis)
    return t.op("QuantizeLinear", x, scale, zeros, **attributes)


@translates(*(f"{_DECOMPOSED}dequantize_per_channel{overload}" for overload in ("", ".default")))
def dequantize_per_channel(
    t: Translator,
    input: ir.Value,
    scales: Any,
    zero_points: Any,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: Any,
    *,
    out_dtype: Any = None,
) -> ir.Value:
    if zero_points is None:
        zero_points = np.zeros(_numbers(scales).shape, np.int64)
    scale, zeros, attributes = _parameters(t, scales, zero_points, quant_min, quant_max, axis)
    return t.op("DequantizeLinear", _stored(t, input, zeros), scale, zeros, **attributes)


def _stored(t: Translator, x: ir.Value, zeros: ir.Value) -> ir.Value:
    """Integers in the type of their zero point, which tells a weight of 0 ... 127 in int8 from uint8."""
    assert zeros.dtype is not None
    return t.value(x, zeros.dtype.numpy())
