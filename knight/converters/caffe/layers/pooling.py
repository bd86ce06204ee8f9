"""Pooling in Caffe's way.

The number of windows is rounded up; where there is padding, a last window that would begin in it is left out.
An average counts the padding of both sides, but nothing beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer

Pair = tuple[int, int]


@dataclass(frozen=True)
class _Windows:
    """kernel, stride, pad: along height and width. ends: how far the last windows reach beyond the input."""

    kernel: Pair
    stride: Pair
    pad: Pair
    ends: Pair

    @property
    def attributes(self) -> dict[str, list[int]]:
        ends = [max(end, 0) for end in self.ends]
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.stride),
            "pads": [*self.pad, *ends],
        }


@layer("Pooling")
def pooling(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """A second top is where in its plane each maximum lies."""
    param, shape = layer.param, fixed_shape(inputs[0])
    method = _method(layer)
    if len(shape) != 4:
        raise layer.error(f"has an input of shape {shape}; it has to have four axes")
    if param.global_pooling and len(layer.tops) == 1:
        return [b.op("GlobalMaxPool" if method == "MAX" else "GlobalAveragePool", inputs[0])]
    kernel = (shape[2], shape[3]) if param.global_pooling else _pair(param, "kernel")
    if 0 in kernel:
        raise layer.error("has no kernel_size")
    up = param.round_mode == 0 and param.ceil_mode
    windows = _windows(layer, shape, kernel, _pair(param, "stride"), _pair(param, "pad"), up)
    if len(layer.tops) == 1:
        return [_pooled(b, inputs[0], method, windows)]
    if method != "MAX":
        raise layer.error("has two tops, but only a maximum has a place")
    return _with_places(b, inputs[0], windows)


_MOST_LEVELS = 16  # of a plane of 32768 x 32768


@layer("SPP")
def spatial_pyramid_pooling(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """1, 4, 16... cells that cover the plane; the results of all levels side by side."""
    shape, method = fixed_shape(inputs[0]), _method(layer)
    layer.check_count(layer.param.pyramid_height, _MOST_LEVELS, "levels")
    levels = []
    for level in range(layer.param.pyramid_height):
        cells = 2**level
        kernel = (-(-shape[2] // cells), -(-shape[3] // cells))
        pad = (
            (kernel[0] * cells - shape[2] + 1) // 2,
            (kernel[1] * cells - shape[3] + 1) // 2,
        )
        levels.append(_pooled(b, inputs[0], method, _windows(layer, shape, kernel, kernel, pad, True)))
    if len(levels) == 1:
        return levels  # Caffe flattens only what it has to join
    return [b.op("Concat", *(b.op("Flatten", value, axis=1) for value in levels), axis=1)]


def _method(layer: Layer) -> str:
    if layer.param.pool == 2:
        raise layer.error("pools at random (STOCHASTIC), which cannot be converted; use AVE or MAX")
    return "AVE" if layer.param.pool == 1 else "MAX"


def _pair(param: object, name: str) -> Pair:
    """Height and width of kernel, stride or pad, which are given once or each by itself."""
    both = getattr(param, "kernel_size" if name == "kernel" else name)
    return (getattr(param, f"{name}_h") or both, getattr(param, f"{name}_w") or both)


def _windows(
    layer: Layer, shape: tuple[int, ...], kernel: Pair, stride: Pair, pad: Pair, up: bool
) -> _Windows:
    """Raises ModelError where Caffe's rules leave a window without anything in it."""
    ends = []
    for axis, size in enumerate(shape[2:]):
        k, s, p = kernel[axis], stride[axis], pad[axis]
        if p >= k or size + 2 * p < k:
            raise layer.error(f"has a kernel of {k} and a pad of {p} on an input of {size}")
        room = size + 2 * p - k
        steps = -(-room // s) if up else room // s
        if any(pad) and steps * s >= size + p:
            steps -= 1
        if steps * s >= size + p:
            raise layer.error(
                f"has a kernel of {k} and a stride of {s} on an input of {size}: its last window holds "
                f"nothing, and its result is undefined in Caffe; crop the input, or make the kernel larger"
            )
        ends.append(steps * s + k - size - p)
    return _Windows(kernel, stride, pad, (ends[0], ends[1]))


def _pooled(b: Builder, value: ir.Value, method: str, windows: _Windows) -> ir.Value:
    if method == "MAX":
        return b.op("MaxPool", value, **windows.attributes)
    if not any(windows.pad):
        return b.op("AveragePool", value, **windows.attributes)
    if all(end <= pad for end, pad in zip(windows.ends, windows.pad, strict=True)):
        return b.op("AveragePool", value, **windows.attributes, count_include_pad=1)
    # Padding counts on both sides, what lies beyond does not: only a Pad of its own tells them apart.
    top, left = windows.pad
    padded = b.op("Pad", value, b.constant([0, 0, top, left, 0, 0, top, left], dtype=np.int64))
    beyond = (windows.ends[0] - top, windows.ends[1] - left)
    inner = _Windows(windows.kernel, windows.stride, (0, 0), beyond)
    return b.op("AveragePool", padded, **inner.attributes)


def _with_places(b: Builder, value: ir.Value, windows: _Windows) -> list[ir.Value]:
    """The maxima, and their places in the plane as floats (row * width + column)."""
    shape = fixed_shape(value)
    largest, places = b.ops("MaxPool", value, outputs=2, **windows.attributes)
    plane = b.op("Mod", places, b.constant(shape[2] * shape[3], dtype=np.int64))
    return [largest, b.op("Cast", plane, to=ir.DataType.FLOAT)]
