"""Layers that make feature maps larger or smaller without weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer


@layer("Upsample")
def upsample(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Every element repeated: by `scale`, or by scale_h and scale_w, or up to upsample_h and upsample_w."""
    if len(inputs) > 1:
        raise layer.error(
            "puts elements where a mask says; only repeating them (one bottom) has an ONNX form"
        )
    height, width = fixed_shape(inputs[0])[2:]
    factors = [_factor(layer, axis, size) for axis, size in (("h", height), ("w", width))]
    scales = b.constant(np.array([1, 1, *factors], np.float32))
    modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return [b.op("Resize", inputs[0], None, scales, mode="nearest", **modes)]


def _factor(layer: Layer, axis: str, size: int) -> int:
    param = layer.param
    names = {field.name for field in param.DESCRIPTOR.fields}
    if f"upsample_{axis}" in names and param.HasField(f"upsample_{axis}"):
        wanted = int(getattr(param, f"upsample_{axis}"))
        if wanted % size:
            raise layer.error(f"has upsample_{axis} {wanted}, no multiple of its bottom's {size}")
        return wanted // size
    if f"scale_{axis}" in names and param.HasField(f"scale_{axis}"):
        return int(getattr(param, f"scale_{axis}"))
    return int(param.scale)


@layer("Interp")
def interp(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Bilinear with aligned corners, after cropping by negative pads, to a size or by factors."""
    (x,), param = inputs, layer.param
    if param.pad_beg > 0 or param.pad_end > 0:
        raise layer.error("has positive pads; Caffe's Interp only crops (pads of zero or below)")
    before = list(fixed_shape(x))
    if param.pad_beg or param.pad_end:
        ends = [size + param.pad_end for size in before[2:]]
        bounds = ([-param.pad_beg] * 2, ends, [2, 3])
        x = b.op("Slice", x, *(b.constant(np.array(bound)) for bound in bounds))
    sizes = [
        _interpolated(layer, size + param.pad_beg + param.pad_end, axis)
        for axis, size in enumerate(before[2:])
    ]
    if sizes == [size + param.pad_beg + param.pad_end for size in before[2:]]:
        return [b.op("Identity", x)]
    target = b.constant(np.array([*before[:2], *sizes]))
    corners = {"coordinate_transformation_mode": "align_corners"}
    return [b.op("Resize", x, None, None, target, mode="linear", **corners)]


def _interpolated(layer: Layer, size: int, axis: int) -> int:
    param = layer.param
    wanted = (param.height, param.width)[axis]
    if wanted:
        return int(wanted)
    if param.HasField("shrink_factor"):
        size = (size - 1) // param.shrink_factor + 1
    if param.HasField("zoom_factor"):
        size = size + (size - 1) * (param.zoom_factor - 1)
    return int(size)


@layer("Reorg")
def reorg(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Darknet's space to depth, in its own order, not that of SpaceToDepth; `reverse` is the inverse."""
    (x,), stride = inputs, int(layer.param.stride)
    batch, channels, height, width = fixed_shape(x)
    if layer.param.reverse:
        if channels % stride**2:
            raise layer.error(f"has {channels} channels, no multiple of the stride's square")
        target = (batch, channels // stride**2, height * stride, width * stride)
        parted = (batch, stride, stride, target[1] * target[2] // stride**2, target[3])
        order = [0, 3, 1, 4, 2]
    else:
        if height % stride or width % stride or channels * height % stride**2:
            raise layer.error(f"has a bottom of {height}x{width}, which the stride {stride} does not divide")
        target = (batch, channels * stride**2, height // stride, width // stride)
        parted = (batch, channels * height // stride**2, stride, width, stride)
        order = [0, 2, 4, 1, 3]
    moved = b.op("Transpose", b.op("Reshape", x, b.constant(np.array(parted))), perm=order)
    return [b.op("Reshape", moved, b.constant(np.array(target)))]
