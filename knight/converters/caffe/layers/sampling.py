"""Layers that make feature maps larger or smaller without weights."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer


@layer("Upsample", bottoms=(1, 2))
def upsample(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Every element repeated; with a second bottom, put where that says and zeros elsewhere (SegNet).

    The size is upsample_h and upsample_w, or a multiple: scale_h and scale_w, or scale (stride in some
    forks). pad_out_h and pad_out_w take the last row and column of a plane of odd size away again.
    """
    before = _plane(layer, inputs[0])
    after = _upsampled(layer, "h", before[0]), _upsampled(layer, "w", before[1])
    if len(inputs) == 2:
        return [_placed(b, layer, inputs, after)]
    if after[0] % before[0] or after[1] % before[1]:
        raise layer.error(f"makes {before} to {after}, no multiple; without a mask it can only repeat")
    scales = b.constant([1, 1, after[0] // before[0], after[1] // before[1]], dtype=np.float32)
    modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return [b.op("Resize", inputs[0], None, scales, mode="nearest", **modes)]


def _plane(layer: Layer, value: ir.Value) -> tuple[int, int]:
    """Height and width. Raises ModelError where `value` has not four axes."""
    shape = fixed_shape(value)
    if len(shape) != 4:
        raise layer.error(f"has an input of shape {shape}; it has to have four axes")
    return shape[2], shape[3]


def _upsampled(layer: Layer, axis: str, size: int) -> int:
    param = layer.param
    wanted = int(getattr(param, f"upsample_{axis}"))
    names = (f"scale_{axis}", "scale", f"stride_{axis}", "stride")
    given = [int(getattr(param, name)) for name in names if param.HasField(name)]
    if not wanted:
        factor = given[0] if given else int(param.scale)
        wanted = factor * size - int(getattr(param, f"pad_out_{axis}"))
    if wanted < size:
        raise layer.error(f"makes {size} to {wanted} along {axis}, which is no upsampling")
    return wanted


def _placed(b: Builder, layer: Layer, inputs: list[ir.Value], size: tuple[int, int]) -> ir.Value:
    """Each element where the mask, a second top of Pooling, says: row * width + column of its own plane."""
    shape = fixed_shape(inputs[0])
    if fixed_shape(inputs[1]) != shape:
        raise layer.error(f"has a mask of shape {fixed_shape(inputs[1])} for an input of shape {shape}")
    flat = b.constant([0, 0, -1], dtype=np.int64)
    values, places = (b.op("Reshape", value, flat) for value in inputs)
    first = b.op("Slice", places, *(b.constant([number], dtype=np.int64) for number in (0, 1, 2)))
    zero = b.op("Mul", first, b.constant(np.float32(0)))  # [batch, channels, 1], for every batch
    empty = b.op("Tile", zero, b.constant([1, 1, math.prod(size)], dtype=np.int64))
    places = b.op("Cast", places, to=ir.DataType.INT64)
    result = b.op("ScatterElements", empty, places, values, axis=2)
    return b.op("Reshape", result, b.constant([0, 0, *size], dtype=np.int64))


@layer("Interp")
def interp(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Bilinear with aligned corners, after cropping by negative pads, to a size or by factors."""
    (x,), param = inputs, layer.param
    before = _plane(layer, x)
    if param.pad_beg > 0 or param.pad_end > 0:
        raise layer.error("has positive pads; Caffe's Interp only crops (pads of zero or below)")
    inside = [size + param.pad_beg + param.pad_end for size in before]
    after = _interpolated(layer, inside)
    if min(*inside, *after) <= 0:
        raise layer.error(f"makes {before}, cropped to {tuple(inside)}, to {tuple(after)}")
    if param.pad_beg or param.pad_end:
        ends = [size + param.pad_end for size in before]
        limits = ([-param.pad_beg] * 2, ends, [2, 3])
        x = b.op("Slice", x, *(b.constant(limit, dtype=np.int64) for limit in limits))
    if after == inside:
        return [b.op("Identity", x)]
    target = b.constant(after, dtype=np.int64)
    corners = {"coordinate_transformation_mode": "align_corners"}
    return [b.op("Resize", x, None, None, target, mode="linear", axes=[2, 3], **corners)]


def _interpolated(layer: Layer, sizes: list[int]) -> list[int]:
    """A factor alone goes before height and width, and those before both factors, as in Caffe."""
    param = layer.param
    shrinks, zooms = param.HasField("shrink_factor"), param.HasField("zoom_factor")
    sized = param.HasField("height") and param.HasField("width")
    if shrinks == zooms and sized:
        return [param.height, param.width]
    if not shrinks and not zooms:
        raise layer.error("wants height and width, or a zoom_factor or shrink_factor")
    if param.shrink_factor < 1 or param.zoom_factor < 1:
        raise layer.error(
            f"has zoom_factor {param.zoom_factor} and shrink_factor {param.shrink_factor}; "
            f"they have to be 1 or more"
        )
    small = [(size - 1) // param.shrink_factor + 1 for size in sizes]
    return [size + (size - 1) * (param.zoom_factor - 1) for size in small]


@layer("Reorg")
def reorg(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Space to depth in Darknet's order of today, which is OpenCV's; with `reverse` depth to space.

    The order is not that of SpaceToDepth: the numbers of the input are read as if it had stride^2 fewer
    channels of planes stride times as high and wide. (The first forks, without `reverse`, had yet another.)
    """
    (x,), stride = inputs, int(layer.param.stride)
    height, width = _plane(layer, x)
    channels = fixed_shape(x)[1]
    if stride < 1 or channels % stride**2:
        raise layer.error(f"has {channels} channels, which the square of its stride {stride} does not divide")
    small = channels // stride**2
    if layer.param.reverse:
        return [b.op("DepthToSpace", x, blocksize=stride, mode="DCR")]
    if height % stride or width % stride:
        raise layer.error(f"has an input of {height}x{width}, which its stride {stride} does not divide")
    planes = b.op("Reshape", x, b.constant([0, small, height * stride, width * stride], dtype=np.int64))
    # Of each plane, the elements at one place of every stride x stride cell: [batch, places, small, ...].
    cells = b.op("Reshape", planes, b.constant([0, small * height, stride, width, stride], dtype=np.int64))
    moved = b.op("Transpose", cells, perm=[0, 2, 4, 1, 3])
    target = [0, channels * stride**2, height // stride, width // stride]
    return [b.op("Reshape", moved, b.constant(target, dtype=np.int64))]
