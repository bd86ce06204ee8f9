"""Blocks of pictures moved into channels and back, and windows laid side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.converters.pytorch.ops.convolution import spread

F = "torch.nn.functional."


@translates(f"{F}pixel_shuffle", "torch.pixel_shuffle")
def pixel_shuffle(t: Translator, input: ir.Value, upscale_factor: int) -> ir.Value:
    return t.op("DepthToSpace", input, blocksize=upscale_factor, mode="CRD")


@translates(f"{F}pixel_unshuffle", "torch.pixel_unshuffle")
def pixel_unshuffle(t: Translator, input: ir.Value, downscale_factor: int) -> ir.Value:
    channels, height, width = t.fixed_sizes("pixel_unshuffle", (1, 2, 3))
    factor = downscale_factor
    blocks = t.constant(np.array([0, channels, height // factor, factor, width // factor, factor]))
    parted = t.op("Transpose", t.op("Reshape", input, blocks), perm=[0, 1, 3, 5, 2, 4])
    return t.op("Reshape", parted, t.constant(np.array([0, -1, height // factor, width // factor])))


@translates(f"{F}channel_shuffle", "torch.channel_shuffle")
def channel_shuffle(t: Translator, input: ir.Value, groups: int) -> ir.Value:
    channels, *rest = t.fixed_sizes("channel_shuffle", range(1, rank(input)))
    parted = t.op("Reshape", input, t.constant(np.array([0, groups, channels // groups, *rest])))
    swapped = t.op("Transpose", parted, perm=[0, 2, 1, *range(3, rank(input) + 1)])
    return t.op("Reshape", swapped, t.constant(np.array([0, channels, *rest])))


@translates(f"{F}unfold")
def unfold(
    t: Translator, input: ir.Value, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> ir.Value:
    """Patches as a convolution with one-hot kernels: [N, C * k * k, L]."""
    (channels,) = t.fixed_sizes("unfold", (1,))
    kernel = spread(kernel_size, 2)
    count = kernel[0] * kernel[1]
    one_hot = np.tile(np.eye(count).reshape(count, 1, *kernel), (channels, 1, 1, 1))
    patches = t.op(
        "Conv",
        input,
        t.like(one_hot, input),
        group=channels,
        kernel_shape=kernel,
        dilations=spread(dilation, 2),
        pads=spread(padding, 2) * 2,
        strides=spread(stride, 2),
    )
    return t.op("Reshape", patches, t.constant(np.array([0, channels * count, -1])))


@translates(f"{F}fold")
def fold(
    t: Translator,
    input: ir.Value,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> ir.Value:
    return t.op(
        "Col2Im",
        input,
        t.constant(np.array(spread(output_size, 2))),
        t.constant(np.array(spread(kernel_size, 2))),
        dilations=spread(dilation, 2),
        pads=spread(padding, 2) * 2,
        strides=spread(stride, 2),
    )


@translates("Tensor.unfold")
def windows(t: Translator, x: ir.Value, dimension: int, size: int, step: int) -> ir.Value:
    """Windows along one axis; their elements become the last axis."""
    axis = t.axes(x, dimension)[0]
    (length,) = t.fixed_sizes("unfold", (axis,))
    starts = np.arange(0, length - size + 1, step)
    taken = t.op("Gather", x, t.constant(starts[:, None] + np.arange(size)), axis=axis)
    order = [i for i in range(rank(x) + 1) if i != axis + 1]
    return t.op("Transpose", taken, perm=[*order, axis + 1])
