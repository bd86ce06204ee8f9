"""Tensors that are made of sizes and numbers: zeros, ranges, grids, triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.converters.pytorch.ops.shape import all_sizes
from knight.errors import ModelError


@translates("torch.zeros", "torch.empty")
def zeros(t: Translator, *sizes: Any, size: Any = None, **kwargs: Any) -> ir.Value:
    return filled(t, sizes or (size,), 0)


@translates("torch.ones")
def ones(t: Translator, *sizes: Any, size: Any = None, **kwargs: Any) -> ir.Value:
    return filled(t, sizes or (size,), 1)


@translates("torch.full")
def full(t: Translator, size: Any, fill_value: Any, **kwargs: Any) -> ir.Value:
    return filled(t, (size,), fill_value)


@translates("Tensor.new_zeros", "Tensor.new_empty")
def new_zeros(t: Translator, x: ir.Value, *sizes: Any, size: Any = None, **kwargs: Any) -> ir.Value:
    return filled(t, sizes or (size,), 0)


@translates("Tensor.new_ones")
def new_ones(t: Translator, x: ir.Value, *sizes: Any, size: Any = None, **kwargs: Any) -> ir.Value:
    return filled(t, sizes or (size,), 1)


@translates("Tensor.new_full")
def new_full(t: Translator, x: ir.Value, size: Any, fill_value: Any, **kwargs: Any) -> ir.Value:
    return filled(t, (size,), fill_value)


def filled(t: Translator, sizes: tuple[Any, ...], number: Any) -> ir.Value:
    """A tensor of one number."""
    return t.op("Expand", t.value(number, t.dtype), t.ints(list(all_sizes(sizes))))


@translates("torch.zeros_like", "torch.empty_like")
def zeros_like(t: Translator, x: ir.Value, **kwargs: Any) -> ir.Value:
    return t.op("Expand", t.value(0, t.dtype), t.op("Shape", x))


@translates("torch.ones_like")
def ones_like(t: Translator, x: ir.Value, **kwargs: Any) -> ir.Value:
    return t.op("Expand", t.value(1, t.dtype), t.op("Shape", x))


@translates("torch.full_like")
def full_like(t: Translator, x: ir.Value, fill_value: Any, **kwargs: Any) -> ir.Value:
    return t.op("Expand", t.value(fill_value, t.dtype), t.op("Shape", x))


@translates("torch.arange")
def arange(t: Translator, *bounds: Any, end: Any = None, step: Any = 1, **kwargs: Any) -> ir.Value:
    """``arange(end)``, ``arange(start, end)`` or ``arange(start, end, step)``, each also by name."""
    given = [kwargs["start"], *bounds] if "start" in kwargs else list(bounds)
    if end is not None:
        given.append(end)
    start, stop, step = {1: (0, *given, step), 2: (*given, step), 3: tuple(given)}[len(given)]
    return t.op("Range", *(t.value(bound, t.dtype) for bound in (start, stop, step)))


@translates("torch.tril", "Tensor.tril")
def tril(t: Translator, x: ir.Value, diagonal: int = 0) -> ir.Value:
    return t.op("Trilu", x, t.constant(np.array(diagonal)), upper=0)


@translates("torch.triu", "Tensor.triu")
def triu(t: Translator, x: ir.Value, diagonal: int = 0) -> ir.Value:
    return t.op("Trilu", x, t.constant(np.array(diagonal)), upper=1)


@translates("torch.meshgrid")
def meshgrid(t: Translator, *tensors: Any, indexing: str = "ij") -> list[ir.Value]:
    lines = list(all_sizes(tensors))
    swap = indexing == "xy" and len(lines) > 1
    order = [1, 0, *range(2, len(lines))] if swap else list(range(len(lines)))
    sizes = [t.op("Shape", lines[i]) for i in order]
    shape = t.op("Concat", *sizes, axis=0)
    grids = []
    for i, line in enumerate(lines):
        others = [axis for axis in range(len(lines)) if axis != order.index(i)]
        grids.append(t.op("Expand", t.op("Unsqueeze", line, t.constant(np.array(others))), shape))
    return grids


@translates("torch.tensor", "torch.as_tensor", "torch.scalar_tensor")
def tensor(t: Translator, data: Any, **kwargs: Any) -> ir.Value:
    if isinstance(data, (list, tuple)):
        return t.value(t.ints(list(data)), t.dtype)
    return t.value(data, t.dtype)


@translates("Tensor.new_tensor")
def new_tensor(t: Translator, x: ir.Value, data: Any, **kwargs: Any) -> ir.Value:
    return tensor(t, data)


@translates("torch.linspace")
def linspace(t: Translator, start: Any, end: Any, steps: Any, **kwargs: Any) -> ir.Value:
    """An open number of steps is at least two."""
    count = t.value(steps, t.dtype)
    first, last = t.value(start, t.dtype), t.value(end, t.dtype)
    one = t.like(1, first)
    gap = t.op("Div", t.op("Sub", last, first), t.op("Sub", count, one))
    places = t.value(t.op("Range", *(t.value(i, np.int64) for i in (0, steps, 1))), t.dtype)
    return t.op("Add", first, t.op("Mul", places, gap))


@translates("torch.eye")
def eye(t: Translator, n: Any, m: Any = None, **kwargs: Any) -> ir.Value:
    rows, columns = t.value(n, np.int64), t.value(n if m is None else m, np.int64)
    square = t.op("Expand", t.value(0, t.dtype), t.ints([rows, columns]))
    return t.op("EyeLike", square)


@translates("torch.diagonal", "Tensor.diagonal", "torch.linalg.diagonal")
def diagonal_of(t: Translator, x: ir.Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> ir.Value:
    """The axes dim1 and dim2, made one, of which the diagonal's elements are taken."""
    axes = t.axes(x, (dim1, dim2))
    height, width = t.fixed_sizes("diagonal", axes)
    rest = [axis for axis in range(rank(x)) if axis not in axes]
    moved = t.op("Transpose", x, perm=[*rest, *axes])
    joined = t.op("Reshape", moved, t.constant(np.array([0] * len(rest) + [height * width])))
    places = np.arange(height * width).reshape(height, width).diagonal(offset)
    return t.op("Gather", joined, t.constant(np.ascontiguousarray(places)), axis=len(rest))


@translates("torch.diag_embed", "Tensor.diag_embed")
def diag_embed(t: Translator, x: ir.Value, offset: int = 0, dim1: int = -2, dim2: int = -1) -> ir.Value:
    if offset or (dim1, dim2) != (-2, -1):
        raise ModelError("diag_embed beside the diagonal of the last two axes; move its result there instead")
    (size,) = t.fixed_sizes("diag_embed", (rank(x) - 1,))
    return t.op("Mul", t.op("Unsqueeze", x, t.constant(np.array([-1]))), t.like(np.eye(size), x))


@translates("torch.diag", "Tensor.diag")
def diag(t: Translator, x: ir.Value, diagonal: int = 0) -> ir.Value:
    return diag_embed(t, x, diagonal) if rank(x) == 1 else diagonal_of(t, x, diagonal)
