"""Layers that move numbers, and change none.

A dimension that a layer keeps is written as 0 in the target of a Reshape, not as its number, so that what
does not depend on the batch does not name it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer


@layer("Concat", bottoms=(1, math.inf))
def concat(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    param = layer.param
    axis = param.concat_dim if param.HasField("concat_dim") else param.axis
    return [b.op("Concat", *inputs, axis=axis % len(fixed_shape(inputs[0])))]


@layer("Slice")
def slice_(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Cut at the points of slice_point, or into equal parts."""
    param, shape, parts = layer.param, fixed_shape(inputs[0]), len(layer.tops)
    axis = (param.slice_dim if param.HasField("slice_dim") else param.axis) % len(shape)
    points = list(param.slice_point)
    if not points:
        points = [shape[axis] * part // parts for part in range(1, parts)] if shape[axis] % parts == 0 else []
    sizes = [end - start for start, end in pairwise([0, *points, shape[axis]])]
    if len(sizes) != parts or min(sizes) <= 0:
        raise layer.error(f"cuts {shape[axis]} at {points} into {parts} tops")
    if parts == 1:
        return [b.op("Identity", inputs[0])]
    return b.ops("Split", inputs[0], b.constant(sizes, dtype=np.int64), outputs=parts, axis=axis)


@layer("Split")
def split(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """One blob under several names."""
    return inputs * len(layer.tops)


@layer("Silence", bottoms=(1, math.inf))
def silence(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Nothing: it keeps a blob that nobody reads from being an output."""
    return []


@layer("Flatten")
def flatten(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """The axes from `axis` to `end_axis` become one."""
    shape, param = fixed_shape(inputs[0]), layer.param
    first, last = param.axis % len(shape), param.end_axis % len(shape)
    if (first, last) == (1, len(shape) - 1):
        return [b.op("Flatten", inputs[0], axis=1)]
    return [_reshaped(b, inputs[0], [*[0] * first, -1, *shape[last + 1 :]])]


@layer("Reshape")
def reshape(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """`num_axes` axes from `axis` on get new dimensions: a number, 0 for the old one, -1 for what is left."""
    shape, param = fixed_shape(inputs[0]), layer.param
    start = param.axis if param.axis >= 0 else len(shape) + param.axis + 1
    end = len(shape) if param.num_axes == -1 else start + param.num_axes
    dims = list(param.shape.dim)
    if not 0 <= start <= end <= len(shape) or dims.count(-1) > 1:
        raise layer.error(f"makes {dims} of the axes {start} to {end} of an input of shape {shape}")
    if any(dim == 0 and start + index >= len(shape) for index, dim in enumerate(dims)):
        raise layer.error(f"keeps a dimension (0) that its input of shape {shape} does not have")
    target = [*[0] * start, *dims, *shape[end:]]
    given = [shape[index] if dim == 0 else dim for index, dim in enumerate(target)]
    size, wanted = int(np.prod(shape)), int(np.prod([dim for dim in given if dim != -1]))
    if size % wanted if -1 in given else size != wanted:
        raise layer.error(f"makes {given} of an input of shape {shape}, which holds {size} numbers")
    return [_reshaped(b, inputs[0], target)]


def _reshaped(b: Builder, value: ir.Value, target: list[int]) -> ir.Value:
    return b.op("Reshape", value, b.constant(target, dtype=np.int64))


@layer("Permute")
def permute(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Axes that `order` does not name follow those that it does."""
    order = list(layer.param.order)
    rest = [axis for axis in range(len(fixed_shape(inputs[0]))) if axis not in order]
    return [b.op("Transpose", inputs[0], perm=[*order, *rest])]


@layer("Crop", bottoms=(2, 2))
def crop(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """The first bottom, from `offset` on as large as the second, along `axis` and those after it."""
    shape, wanted = fixed_shape(inputs[0]), fixed_shape(inputs[1])
    axis = layer.param.axis % len(shape)
    axes = list(range(axis, len(shape)))
    offsets = list(layer.param.offset) or [0]
    if len(offsets) == 1:
        offsets *= len(axes)
    if len(offsets) != len(axes) or len(wanted) != len(shape):
        raise layer.error(f"has {len(offsets)} offset for {len(axes)} axes of {shape}, cropped to {wanted}")
    ends = [offset + wanted[at] for offset, at in zip(offsets, axes, strict=True)]
    if any(end > shape[at] for end, at in zip(ends, axes, strict=True)):
        raise layer.error(f"crops {shape} to {wanted} from {offsets} on, which is beyond its end")
    limits = (b.constant(numbers, dtype=np.int64) for numbers in (offsets, ends, axes))
    return [b.op("Slice", inputs[0], *limits)]


@layer("Tile")
def tile(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    rank = len(fixed_shape(inputs[0]))
    repeats = np.ones(rank, np.int64)
    repeats[layer.param.axis % rank] = layer.param.tiles
    return [b.op("Tile", inputs[0], b.constant(repeats))]


@layer("ShuffleChannel")
def shuffle_channel(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Channel c of group g becomes channel g of group c."""
    shape, group = fixed_shape(inputs[0]), layer.param.group
    if shape[1] % group:
        raise layer.error(f"has {shape[1]} channels in {group} groups")
    grouped = _reshaped(b, inputs[0], [0, group, shape[1] // group, *shape[2:]])
    swapped = b.op("Transpose", grouped, perm=[0, 2, 1, *range(3, len(shape) + 1)])
    return [_reshaped(b, swapped, [0, *shape[1:]])]
