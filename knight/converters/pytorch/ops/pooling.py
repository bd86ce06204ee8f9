"""Pooling: windows that move, windows that adapt to the wanted size, and whole feature maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.converters.pytorch.ops.convolution import spread
from knight.errors import ModelError

NN = "torch.nn.functional."
F = TypeVar("F", bound=Callable[..., Any])


def _of_rank(*names: str) -> Callable[[F], F]:
    """Registers a handler for 1, 2 and 3 spatial axes; one sample without a batch gets one on the way."""

    def register(handler: F) -> F:
        for count in (1, 2, 3):
            translates(*(name.replace("#", str(count)) for name in names))(_batched(handler, count))
        return handler

    return register


def _batched(handler: F, count: int) -> Callable[..., Any]:
    def pooled(t: Translator, input: ir.Value, *args: Any, **kwargs: Any) -> Any:
        if rank(input) != count + 1:
            return handler(t, input, *args, **kwargs)
        first = t.constant(np.array([0]))
        result = handler(t, t.op("Unsqueeze", input, first), *args, **kwargs)
        if isinstance(result, ir.Value):
            return t.op("Squeeze", result, first)
        return tuple(t.op("Squeeze", value, first) for value in result)

    return pooled


def _window(
    t: Translator, count: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Any:
    """Attributes of the pooling, and how many elements its last windows reach beyond the padded input.

    torch rounds sizes up under ceil_mode but drops windows that would start beyond the input. The size of its
    result is known from the example, so that explicit pads say the same without ambiguity.
    """
    sizes, steps = spread(kernel, count), spread(kernel if stride in (None, []) else stride, count)
    pads, dilations = spread(padding, count), spread(dilation, count)
    beyond = [0] * count
    if ceil:
        before = t.fixed_sizes("ceil_mode", range(-count, 0))
        result = t.examples[0][0] if isinstance(t.examples[0], tuple) else t.examples[0]
        after = tuple(result.shape)[-count:]
        for axis in range(count):
            reach = (after[axis] - 1) * steps[axis] + dilations[axis] * (sizes[axis] - 1) + 1
            beyond[axis] = max(0, reach - before[axis] - 2 * pads[axis])
    ends = [pad + more for pad, more in zip(pads, beyond, strict=True)]
    attributes = {"kernel_shape": sizes, "strides": steps, "pads": [*pads, *ends]}
    return attributes, dilations, beyond


@_of_rank("torch.max_pool#d", f"{NN}max_pool#d", f"{NN}max_pool#d_with_indices")
def max_pool(
    t: Translator,
    input: ir.Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    count = _spatial(input)
    attributes, dilations, _ = _window(t, count, kernel_size, stride, padding, dilation, ceil_mode)
    if isinstance(t.examples[0], tuple):
        values, indices = t.ops("MaxPool", input, outputs=2, dilations=dilations, **attributes)
        return values, _within_each_map(t, input, indices, count)
    return t.op("MaxPool", input, dilations=dilations, **attributes)


def _within_each_map(t: Translator, x: ir.Value, indices: ir.Value, count: int) -> ir.Value:
    """ONNX counts indices over the whole tensor, torch within each feature map."""
    size = int(np.prod(t.fixed_sizes("return_indices", range(-count, 0))))
    return t.op("Mod", indices, t.constant(np.array(size)))


def _spatial(x: ir.Value) -> int:
    return rank(x) - 2


@_of_rank("torch.avg_pool#d", f"{NN}avg_pool#d")
def avg_pool(
    t: Translator,
    input: ir.Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> ir.Value:
    count = _spatial(input)
    attributes, _, beyond = _window(t, count, kernel_size, stride, padding, 1, ceil_mode)
    size = int(np.prod(attributes["kernel_shape"]))
    if not any(beyond) and divisor_override is None:
        return t.op("AveragePool", input, count_include_pad=int(count_include_pad), **attributes)
    mean = t.op("AveragePool", input, count_include_pad=1, **attributes)
    if divisor_override is not None:
        return t.op("Mul", mean, t.like(size / divisor_override, mean))
    divisors = _divisors(t, attributes, beyond, count_include_pad)
    return t.op("Mul", mean, t.like(size / divisors, mean))


def _divisors(t: Translator, attributes: Any, beyond: Sequence[int], with_padding: bool) -> np.ndarray:
    """Elements that torch divides each window by: what lies in the input, or in the input and its padding."""
    count = len(beyond)
    shape = tuple(t.examples[0].shape)[-count:]
    divisors = np.ones(())
    sizes = t.fixed_sizes("ceil_mode", range(-count, 0))
    for axis in range(count):
        pad, window = attributes["pads"][axis], attributes["kernel_shape"][axis]
        starts = np.arange(shape[axis]) * attributes["strides"][axis] - pad
        low, high = (-pad, sizes[axis] + pad) if with_padding else (0, sizes[axis])
        inside = np.minimum(starts + window, high) - np.maximum(starts, low)
        divisors = np.multiply.outer(divisors, inside)
    return divisors


@_of_rank("torch.adaptive_avg_pool#d", f"{NN}adaptive_avg_pool#d")
def adaptive_avg_pool(t: Translator, input: ir.Value, output_size: Any) -> ir.Value:
    count = _spatial(input)
    targets = _targets(t, count)
    if set(targets) == {1}:
        return t.op("GlobalAveragePool", input)
    sizes = t.fixed_sizes("adaptive pooling", range(-count, 0))
    window = _divisible(sizes, targets)
    if window is not None:
        return t.op("AveragePool", input, kernel_shape=window, strides=window)
    for axis, (size, target) in enumerate(zip(sizes, targets, strict=True)):
        input = _average_along(t, input, axis - count, size, target)
    return input


@_of_rank(f"{NN}adaptive_max_pool#d", f"{NN}adaptive_max_pool#d_with_indices")
def adaptive_max_pool(
    t: Translator, input: ir.Value, output_size: Any, return_indices: bool = False
) -> ir.Value:
    if isinstance(t.examples[0], tuple):
        raise ModelError("adaptive max pooling with return_indices has no ONNX form; leave the indices out")
    count = _spatial(input)
    targets = _targets(t, count)
    if set(targets) == {1}:
        return t.op("GlobalMaxPool", input)
    sizes = t.fixed_sizes("adaptive pooling", range(-count, 0))
    window = _divisible(sizes, targets)
    if window is not None:
        return t.op("MaxPool", input, kernel_shape=window, strides=window)
    for axis, (size, target) in enumerate(zip(sizes, targets, strict=True)):
        pieces = [_maximum(t, input, axis - count, *bounds) for bounds in _bins(size, target)]
        input = t.op("Concat", *pieces, axis=axis - count)
    return input


def _targets(t: Translator, count: int) -> list[int]:
    return [int(size) for size in tuple(t.examples[0].shape)[-count:]]


def _divisible(sizes: Sequence[int], targets: Sequence[int]) -> list[int] | None:
    if any(size % target for size, target in zip(sizes, targets, strict=True)):
        return None
    return [size // target for size, target in zip(sizes, targets, strict=True)]


def _bins(size: int, target: int) -> list[tuple[int, int]]:
    """torch's windows: from floor(i * size / target) to ceil((i + 1) * size / target)."""
    return [(i * size // target, -(-(i + 1) * size // target)) for i in range(target)]


def _average_along(t: Translator, x: ir.Value, axis: int, size: int, target: int) -> ir.Value:
    """Averages of uneven windows, as a product with a constant matrix."""
    matrix = np.zeros((size, target), np.float32)
    for column, (start, end) in enumerate(_bins(size, target)):
        matrix[start:end, column] = 1 / (end - start)
    if axis == -1:
        return t.op("MatMul", x, t.like(matrix, x))
    if axis == -2:
        return t.op("MatMul", t.like(matrix.T, x), x)
    order = [0, 1, 3, 4, 2]  # the depth of volumes
    moved = t.op("MatMul", t.op("Transpose", x, perm=order), t.like(matrix, x))
    return t.op("Transpose", moved, perm=np.argsort(order).tolist())


def _maximum(t: Translator, x: ir.Value, axis: int, start: int, end: int) -> ir.Value:
    at = t.constant(np.array([axis]))
    piece = t.op("Slice", x, t.constant(np.array([start])), t.constant(np.array([end])), at)
    return t.op("ReduceMax", piece, at, keepdims=1)


@_of_rank(f"{NN}lp_pool#d")
def lp_pool(
    t: Translator,
    input: ir.Value,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
) -> ir.Value:
    """The p-th root of the sum of p-th powers."""
    power = t.like(norm_type, input)
    total = avg_pool(t, t.op("Pow", input, power), kernel_size, stride, 0, ceil_mode, True, 1)
    return t.op("Pow", t.op("Relu", total), t.like(1 / norm_type, input))
