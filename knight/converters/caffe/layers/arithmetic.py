"""Layers that add, multiply and compare."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer

_REDUCTIONS = {1: "ReduceSum", 2: "ReduceL1", 3: "ReduceSumSquare", 4: "ReduceMean"}


@layer("Eltwise", bottoms=(1, math.inf))
def eltwise(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Product, sum with a factor for each bottom, or maximum."""
    shapes = {fixed_shape(value) for value in inputs}
    if len(shapes) > 1:
        raise layer.error(f"has bottoms of different shapes: {', '.join(map(str, sorted(shapes)))}")
    operation = layer.param.operation
    factors = list(layer.param.coeff)
    if factors and (operation != 1 or len(factors) != len(inputs)):
        raise layer.error(
            f"has {len(factors)} coeff for {len(inputs)} bottoms; only a SUM has them, one each"
        )
    if operation == 2:
        return [b.op("Max", *inputs)]
    if operation == 0:
        return [_chained(b, "Mul", inputs)]
    if factors == [1, -1]:
        return [b.op("Sub", *inputs)]
    scaled = [_times(b, value, factor) for value, factor in zip(inputs, factors, strict=False)] or inputs
    return [_chained(b, "Add", scaled)]


def _chained(b: Builder, op_type: str, values: Sequence[ir.Value]) -> ir.Value:
    result = values[0]
    for value in values[1:]:
        result = b.op(op_type, result, value)
    return result


def _times(b: Builder, value: ir.Value, factor: float) -> ir.Value:
    return value if factor == 1 else b.op("Mul", value, b.constant(np.float32(factor)))


@layer("Scale", bottoms=(1, 2))
def scale(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Times the second bottom, or weights, that lie along `axis` and those after it; then plus a bias."""
    result = b.op("Mul", inputs[0], _along_axis(b, layer, inputs, "scale"))
    if layer.param.bias_term:
        index = 2 - len(inputs)  # the scale is a weight only where it is no bottom
        result = b.op("Add", result, _weight_along_axis(b, layer, inputs, index, "bias"))
    return [result]


@layer("Bias", bottoms=(1, 2))
def bias(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Plus the second bottom, or weights, that lie along `axis` and those after it."""
    return [b.op("Add", inputs[0], _along_axis(b, layer, inputs, "bias"))]


def _along_axis(b: Builder, layer: Layer, inputs: list[ir.Value], name: str) -> ir.Value:
    """The second bottom or else the first weight, shaped to fit the first bottom."""
    if len(inputs) == 1:
        return _weight_along_axis(b, layer, inputs, 0, name)
    dims, behind = _covered(layer, inputs)
    return _with_ones(b, inputs[1], len(dims), behind)


def _weight_along_axis(b: Builder, layer: Layer, inputs: list[ir.Value], index: int, name: str) -> ir.Value:
    dims, behind = _covered(layer, inputs)
    blob = layer.check_blob(index, dims)
    return b.constant(blob.reshape((*dims, *[1] * behind)), f"{layer.name}.{name}")


def _covered(layer: Layer, inputs: list[ir.Value]) -> tuple[tuple[int, ...], int]:
    """The dimensions of the first bottom that are scaled each by itself, and how many follow them."""
    shape, param = fixed_shape(inputs[0]), layer.param
    given = fixed_shape(inputs[1]) if len(inputs) == 2 else None
    count = param.num_axes if given is None else len(given)
    if count == 0:
        return (), 0
    axis = param.axis % len(shape)
    end = len(shape) if count == -1 else axis + count
    if end > len(shape) or given not in (None, shape[axis:end]):
        covers = f"{count} axes" if given is None else f"a bottom of shape {given}"
        raise layer.error(
            f"covers {covers} from axis {axis} on, which does not fit its input of shape {shape}"
        )
    return shape[axis:end], len(shape) - end


def _with_ones(b: Builder, value: ir.Value, rank: int, count: int) -> ir.Value:
    if not count:
        return value
    return b.op("Unsqueeze", value, b.constant(np.arange(rank, rank + count), dtype=np.int64))


@layer("BatchNorm")
def batch_norm(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """(x - mean) / sqrt(variance + eps); the stored sums are divided by the third weight."""
    param, shape = layer.param, fixed_shape(inputs[0])
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise layer.error(
            "takes mean and variance from each batch (use_global_stats: false); take that line out, so that "
            "it uses those of the training"
        )
    if len(layer.blobs) > 3:
        raise layer.error(
            f"has {len(layer.blobs)} weights, a BatchNorm of BVLC Caffe has 3; "
            f"move the others into a Scale layer"
        )
    channels = shape[1] if len(shape) > 1 else 1
    mean, variance = layer.check_blob(0, (channels,)), layer.check_blob(1, (channels,))
    total = float(layer.check_blob(2, (1,))[0])
    factor = np.float32(1 / total if total else 0)
    value = inputs[0] if len(shape) > 1 else b.op("Unsqueeze", inputs[0], b.constant([1], dtype=np.int64))
    result = b.op(
        "BatchNormalization",
        value,
        b.constant(np.ones(channels, np.float32), f"{layer.name}.scale"),
        b.constant(np.zeros(channels, np.float32), f"{layer.name}.bias"),
        b.constant(mean * factor, f"{layer.name}.mean"),
        b.constant(variance * factor, f"{layer.name}.variance"),
        epsilon=param.eps,
    )
    return [result if len(shape) > 1 else b.op("Squeeze", result, b.constant([1], dtype=np.int64))]


@layer("Axpy", bottoms=(3, 3))
def axpy(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """a * x + y, with one a per channel (squeeze and excitation)."""
    factor, x, y = inputs
    given, shape = fixed_shape(factor), fixed_shape(x)
    if math.prod(given) != math.prod(shape[:2]) or given[:2] != shape[:2] or fixed_shape(y) != shape:
        raise layer.error(f"has bottoms of the shapes {given}, {shape} and {fixed_shape(y)}")
    if len(given) < len(shape):
        factor = _with_ones(b, factor, len(given), len(shape) - len(given))
    return [b.op("Add", b.op("Mul", factor, x), y)]


@layer("Reduction")
def reduction(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Over all axes from `axis` on, which go away."""
    param, rank = layer.param, len(fixed_shape(inputs[0]))
    axes = b.constant(np.arange(param.axis % rank, rank), dtype=np.int64)
    return [_times(b, b.op(_REDUCTIONS[param.operation], inputs[0], axes, keepdims=0), param.coeff)]


@layer("ArgMax")
def argmax(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Where the `top_k` largest numbers lie, as floats; with `out_max_val` their values too, or instead.

    Without an axis, all but the first are one, and the result is (N, 1 or 2, top_k): places, then values.
    """
    param, shape = layer.param, fixed_shape(inputs[0])
    if param.HasField("axis"):
        axis, value = param.axis % len(shape), inputs[0]
    else:
        axis = 2
        flat = b.op("Flatten", inputs[0], axis=1)
        value = b.op("Unsqueeze", flat, b.constant([1], dtype=np.int64))
    values, places = _largest(b, value, axis, param.top_k, param.out_max_val)
    if not param.out_max_val:
        return [places]
    return [values if param.HasField("axis") else b.op("Concat", places, values, axis=1)]


def _largest(
    b: Builder, value: ir.Value, axis: int, count: int, with_values: bool
) -> tuple[ir.Value, ir.Value]:
    """The `count` largest along `axis` and their places; of equal ones Caffe names the last."""
    if count == 1:
        places = b.op("ArgMax", value, axis=axis, keepdims=1, select_last_index=1)
        values = value
        if with_values:
            values = b.op("ReduceMax", value, b.constant([axis], dtype=np.int64), keepdims=1)
    else:
        values, places = b.ops("TopK", value, b.constant([count], dtype=np.int64), outputs=2, axis=axis)
    return values, b.op("Cast", places, to=ir.DataType.FLOAT)
