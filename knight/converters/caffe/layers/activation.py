"""Layers that map every number by itself."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer


@layer("ReLU")
def relu(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    slope = layer.param.negative_slope
    return [b.op("LeakyRelu", inputs[0], alpha=slope) if slope else b.op("Relu", inputs[0])]


@layer("ReLU6")
def relu6(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [_clip(b, inputs[0], 0.0, 6.0)]


@layer("Clip")
def clip(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [_clip(b, inputs[0], layer.param.min, layer.param.max)]


def _clip(b: Builder, value: ir.Value, low: float, high: float) -> ir.Value:
    return b.op("Clip", value, b.constant(np.float32(low)), b.constant(np.float32(high)))


@layer("PReLU")
def prelu(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """One slope per channel (axis 1), or one for all."""
    shape = fixed_shape(inputs[0])
    if layer.param.channel_shared:
        slope = layer.check_blob(0, (1,))
    else:
        slope = layer.check_blob(0, (shape[1],)).reshape(-1, *[1] * (len(shape) - 2))
    return [b.op("PRelu", inputs[0], b.constant(slope, f"{layer.name}.slope"))]


@layer("ELU")
def elu(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [b.op("Elu", inputs[0], alpha=layer.param.alpha)]


@layer("Sigmoid")
def sigmoid(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [b.op("Sigmoid", inputs[0])]


@layer("TanH")
def tanh(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [b.op("Tanh", inputs[0])]


@layer("AbsVal")
def absval(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [b.op("Abs", inputs[0])]


@layer("BNLL")
def bnll(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """log(1 + exp(x))"""
    return [b.op("Softplus", inputs[0])]


@layer("Mish")
def mish(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [b.op("Mish", inputs[0])]


@layer("Swish")
def swish(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """x * sigmoid(beta * x)"""
    return [b.op("Mul", inputs[0], b.op("Sigmoid", _times(b, inputs[0], layer.param.beta)))]


@layer("Power")
def power(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """(shift + scale * x) ** power"""
    value = _linear(b, inputs[0], layer.param.scale, layer.param.shift)
    exponent = layer.param.power
    if exponent != 1:
        value = b.op("Pow", value, b.constant(np.float32(exponent)))
    return [value if value is not inputs[0] else b.op("Identity", value)]


@layer("Exp")
def exp(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """base ** (shift + scale * x); a base of -1 is e."""
    factor = _log_of_base(layer)
    return [b.op("Exp", _linear(b, inputs[0], layer.param.scale * factor, layer.param.shift * factor))]


@layer("Log")
def log(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """log(shift + scale * x) to a base; a base of -1 is e."""
    value = b.op("Log", _linear(b, inputs[0], layer.param.scale, layer.param.shift))
    return [_times(b, value, 1 / _log_of_base(layer))]


def _log_of_base(layer: Layer) -> float:
    base = layer.param.base
    if base == -1:
        return 1.0
    if base <= 0 or base == 1:
        raise layer.error(f"has the base {base:g}; it has to be positive and not 1, or -1 for e")
    return math.log(base)


def _linear(b: Builder, value: ir.Value, scale: float, shift: float) -> ir.Value:
    value = _times(b, value, scale)
    return b.op("Add", value, b.constant(np.float32(shift))) if shift else value


def _times(b: Builder, value: ir.Value, factor: float) -> ir.Value:
    return b.op("Mul", value, b.constant(np.float32(factor))) if factor != 1 else value


@layer("Threshold")
def threshold(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """1 where x is above the threshold, else 0"""
    above = b.op("Greater", inputs[0], b.constant(np.float32(layer.param.threshold)))
    return [b.op("Cast", above, to=ir.DataType.FLOAT)]


@layer("Dropout")
def dropout(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Nothing at inference, unless the net was trained without scaling what it keeps."""
    if layer.param.scale_train:
        return inputs
    return [_times(b, inputs[0], 1 - layer.param.dropout_ratio)]
