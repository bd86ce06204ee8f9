"""Layers with a matrix or a kernel of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer


@layer("Convolution", bottoms=(1, math.inf))
def convolution(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    return [_convolved(b, layer, value, layer.param.group) for value in inputs]


@layer("ConvolutionDepthwise", "DepthwiseConvolution")
def depthwise_convolution(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """A convolution of forks, with one group per channel whatever the prototxt says."""
    return [_convolved(b, layer, inputs[0], fixed_shape(inputs[0])[1])]


def _convolved(b: Builder, layer: Layer, value: ir.Value, group: int) -> ir.Value:
    channels, rank = _channels_and_rank(layer, value, group)
    kernel = _window(layer, "kernel", rank)
    weight = layer.check_blob(0, (layer.param.num_output, channels // group, *kernel))
    return b.op("Conv", value, *_constants(b, layer, weight), **_attributes(layer, kernel, group))


@layer("Deconvolution", bottoms=(1, math.inf))
def deconvolution(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """The result is stride * (input - 1) + dilation * (kernel - 1) + 1 - 2 * pad long."""
    group = layer.param.group
    results = []
    for value in inputs:
        channels, rank = _channels_and_rank(layer, value, group)
        kernel = _window(layer, "kernel", rank)
        weight = layer.check_blob(0, (channels, layer.param.num_output // group, *kernel))
        attributes = _attributes(layer, kernel, group)
        results.append(b.op("ConvTranspose", value, *_constants(b, layer, weight), **attributes))
    return results


def _channels_and_rank(layer: Layer, value: ir.Value, group: int) -> tuple[int, int]:
    """Channels of the input, and its number of spatial axes."""
    shape = fixed_shape(value)
    if layer.param.axis not in (1, 1 - len(shape)):
        raise layer.error(f"has its channels on axis {layer.param.axis}; only 1 can be converted")
    if len(shape) < 3:
        raise layer.error(f"has an input of shape {shape}, without axes to slide along")
    if shape[1] % group or layer.param.num_output % group:
        raise layer.error(f"has {shape[1]} to {layer.param.num_output} channels in {group} groups")
    return shape[1], len(shape) - 2


def _attributes(layer: Layer, kernel: Sequence[int], group: int) -> dict[str, Any]:
    pads = _window(layer, "pad", len(kernel))
    return {
        "kernel_shape": list(kernel),
        "strides": _window(layer, "stride", len(kernel)),
        "pads": [*pads, *pads],
        "dilations": _window(layer, "dilation", len(kernel)),
        "group": group,
    }


def _window(layer: Layer, name: str, rank: int) -> list[int]:
    """Kernel, stride, pad or dilation per spatial axis: given once, for each, or as height and width."""
    param = layer.param
    default = 0 if name == "pad" else 1
    if name != "dilation" and (param.HasField(f"{name}_h") or param.HasField(f"{name}_w")):
        if rank != 2:
            raise layer.error(f"has {name}_h and {name}_w, but {rank} axes to slide along")
        height, width = getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
        return [height or default, width or default]
    given = list(getattr(param, "kernel_size" if name == "kernel" else name))
    if name == "kernel" and not given:
        raise layer.error("has no kernel_size")
    if len(given) not in (0, 1, rank):
        raise layer.error(f"has {len(given)} numbers for {name}, and {rank} axes to slide along")
    return given if len(given) == rank else (given or [default]) * rank


def _constants(b: Builder, layer: Layer, weight: np.ndarray) -> list[ir.Value]:
    constants = [b.constant(weight, f"{layer.name}.weight")]
    if layer.param.bias_term:
        constants.append(b.constant(layer.check_blob(1, (layer.param.num_output,)), f"{layer.name}.bias"))
    return constants


@layer("InnerProduct")
def inner_product(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """All axes from `axis` on, times the weights (outputs x inputs, or the other way with `transpose`)."""
    shape, param = fixed_shape(inputs[0]), layer.param
    axis = param.axis % len(shape)
    width = math.prod(shape[axis:])
    dims = (width, param.num_output) if param.transpose else (param.num_output, width)
    weight = layer.check_blob(0, dims)
    if axis > 1:
        return [_matmul(b, layer, inputs[0], weight if param.transpose else weight.T, axis)]
    flat = inputs[0] if len(shape) == 2 and axis == 1 else b.op("Flatten", inputs[0], axis=axis)
    result = b.op("Gemm", flat, *_constants(b, layer, weight), transB=int(not param.transpose))
    return [result if axis else b.op("Reshape", result, b.constant([param.num_output], dtype=np.int64))]


def _matmul(b: Builder, layer: Layer, value: ir.Value, weight: np.ndarray, axis: int) -> ir.Value:
    """The product along all axes from `axis` (2 or more) on; those before it stay."""
    if len(fixed_shape(value)) > axis + 1:
        value = b.op("Reshape", value, b.constant([*[0] * axis, -1], dtype=np.int64))
    matrix, *bias = _constants(b, layer, weight)
    value = b.op("MatMul", value, matrix)
    return b.op("Add", value, bias[0]) if bias else value


@layer("Embed")
def embed(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """A row of the weights for each number of the input, which holds whole numbers as floats."""
    weight = layer.check_blob(0, (layer.param.input_dim, layer.param.num_output))
    table, *bias = _constants(b, layer, weight)
    rows = b.op("Gather", table, b.op("Cast", inputs[0], to=ir.DataType.INT64))
    return [b.op("Add", rows, bias[0]) if bias else rows]
