"""Layers that scale by what is around: softmax, local responses, norms, mean and variance."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer

_WITHIN_CHANNEL = 1


@layer("Softmax")
def softmax(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Along one axis."""
    axis, size = layer.param.axis, len(fixed_shape(inputs[0]))
    if not -size <= axis < size:
        raise layer.error(f"has axis {axis}, its bottom has {size} axes")
    return [b.op("Softmax", inputs[0], axis=axis)]


@layer("LRN")
def lrn(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """``x / (k + alpha / n * sum x^2)^beta`` over n neighbouring channels.

    Within a channel the mean of n x n squares takes the place of the sum over n, and 1 that of k. (OpenCV
    takes k for 1 everywhere.)
    """
    (x,), param = inputs, layer.param
    size, shape = param.local_size, fixed_shape(x)
    if len(shape) != 4:
        raise layer.error(f"has an input of shape {shape}; it has to have four axes")
    if size % 2 == 0:
        raise layer.error(f"has local_size {size}; it has to be odd")
    if param.norm_region != _WITHIN_CHANNEL:
        attributes = {"alpha": float(param.alpha), "beta": float(param.beta), "bias": float(param.k)}
        return [b.op("LRN", x, size=size, **attributes)]
    pads = [size // 2] * 4
    mean = b.op("AveragePool", b.op("Mul", x, x), kernel_shape=[size, size], pads=pads, count_include_pad=1)
    power = b.op("Add", b.op("Mul", mean, b.constant(np.float32(param.alpha))), b.constant(np.float32(1)))
    return [b.op("Div", x, b.op("Pow", power, b.constant(np.float32(param.beta))))]


@layer("Normalize")
def normalize(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Over the root of the sum of squares and eps, then times a scale: SSD's layer."""
    (x,), param = inputs, layer.param
    shape = fixed_shape(x)
    if len(shape) < 2:
        raise layer.error(f"has an input of shape {shape}; it has to have channels")
    axes = b.constant(np.arange(1, len(shape)) if param.across_spatial else [1], dtype=np.int64)
    total = b.op("ReduceSum", b.op("Mul", x, x), axes, keepdims=1)
    norm = b.op("Sqrt", b.op("Add", total, b.constant(np.float32(param.eps))))
    scale = layer.check_blob(0, (1,) if param.channel_shared else (shape[1],))
    weight = b.constant(scale.reshape([-1] + [1] * (len(shape) - 2)), f"{layer.name}.scale")
    return [b.op("Mul", b.op("Div", x, norm), weight)]


@layer("MVN")
def mvn(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Minus the mean, over the standard deviation plus eps, of each channel or of all."""
    (x,), param = inputs, layer.param
    first, shape = 1 if param.across_channels else 2, fixed_shape(x)
    if len(shape) <= first:
        raise layer.error(f"has an input of shape {shape}, which leaves no axes to normalize")
    axes = b.constant(np.arange(first, len(shape)), dtype=np.int64)
    moved = b.op("Sub", x, b.op("ReduceMean", x, axes, keepdims=1))
    if not param.normalize_variance:
        return [moved]
    deviation = b.op("Sqrt", b.op("ReduceMean", b.op("Mul", moved, moved), axes, keepdims=1))
    return [b.op("Div", moved, b.op("Add", deviation, b.constant(np.float32(param.eps))))]
