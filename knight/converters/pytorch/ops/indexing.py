"""Indexing: x[...], x[...] = y, gather, scatter, embedding and their like."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

F = "torch.nn.functional."
END = np.iinfo(np.int64).max


@translates("operator.getitem")
def getitem(t: Translator, x: Any, index: Any) -> Any:
    """``x[index]`` for integers, slices, None, Ellipsis, and tensors of integers."""
    if not isinstance(x, ir.Value):
        return x[index]
    items = _expanded(x, index)
    x = _sliced(t, x, [item for item in items if item is not None])
    tensors = [i for i, item in enumerate(_per_axis(items)) if _is_tensor(item)]
    if tensors:
        x = _gathered(t, x, _per_axis(items), tensors)
    return _squeezed(t, x, items)


def _expanded(x: ir.Value, index: Any) -> list[Any]:
    """One item per axis of `x`, and None where an axis is put in."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = [_as_index(item) for item in items]
    if any(isinstance(item, ir.Value) and item.dtype == ir.DataType.BOOL for item in items):
        raise ModelError(
            "indexing with a tensor of booleans gives a shape that depends on the data; use torch.where or a product"
        )
    used = sum(item is not None and item is not Ellipsis for item in items)
    fill = [slice(None)] * (rank(x) - used)
    place = next((i for i, item in enumerate(items) if item is Ellipsis), None)
    return items + fill if place is None else items[:place] + fill + items[place + 1 :]


def _as_index(item: Any) -> Any:
    """Lists and arrays of integers are tensors to torch."""
    if isinstance(item, (list, np.ndarray)):
        return np.asarray(item)
    return item


def _is_tensor(item: Any) -> bool:
    return isinstance(item, np.ndarray) or (isinstance(item, ir.Value) and rank(item) > 0)


def _per_axis(items: list[Any]) -> list[Any]:
    return [item for item in items if item is not None]


def _sliced(t: Translator, x: ir.Value, items: list[Any]) -> ir.Value:
    """Applies all slices, and integers as slices of one element."""
    bounds: list[tuple[Any, Any, int, int]] = []
    for axis, item in enumerate(items):
        if isinstance(item, slice):
            step = 1 if item.step is None else item.step
            if (item.start in (None, 0) and item.stop is None) and step == 1:
                continue
            bounds.append((item.start or 0, END if item.stop is None else item.stop, axis, step))
        elif isinstance(item, int):
            bounds.append((item, END if item == -1 else item + 1, axis, 1))
        elif isinstance(item, ir.Value) and rank(item) == 0:
            x = t.op(
                "Gather", x, t.op("Unsqueeze", t.value(item, np.int64), t.constant(np.array([0]))), axis=axis
            )
    if not bounds:
        return x
    starts, ends, axes, steps = zip(*bounds, strict=True)
    return t.op(
        "Slice", x, t.ints(starts), t.ints(ends), t.constant(np.array(axes)), t.constant(np.array(steps))
    )


def _gathered(t: Translator, x: ir.Value, items: list[Any], axes: list[int]) -> ir.Value:
    """Applies the index tensors along `axes`."""
    indices = [t.value(items[axis], np.int64) for axis in axes]
    if len(axes) == 1:
        return t.op("Gather", x, indices[0], axis=axes[0])
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    order = [*axes, *(axis for axis in range(rank(x)) if axis not in axes)]
    moved = x if order == sorted(order) else t.op("Transpose", x, perm=order)
    shape = t.op("Shape", indices[0])
    for other in indices[1:]:  # broadcast: the shape of a sum
        shape = t.op("Shape", t.op("Expand", other, shape))
    last = t.constant(np.array([-1]))
    joined = t.op("Concat", *(t.op("Unsqueeze", t.op("Expand", i, shape), last) for i in indices), axis=-1)
    result = t.op("GatherND", moved, joined)
    first, count = axes[0], max(rank(index) for index in indices)
    if not adjacent or first == 0:
        return result
    size = rank(result)
    back = [*range(count, count + first), *range(count), *range(count + first, size)]
    return t.op("Transpose", result, perm=back)


def _squeezed(t: Translator, x: ir.Value, items: list[Any]) -> ir.Value:
    """Drops the axes of integers and puts in those of None."""
    tensors = [item for item in items if _is_tensor(item)]
    extra = max((item.ndim if isinstance(item, np.ndarray) else rank(item) for item in tensors), default=0)
    dropped, added, before, after = [], [], 0, 0
    seen = False
    for item in items:
        if item is None:
            added.append(after)
            after += 1
        elif isinstance(item, int) or (isinstance(item, ir.Value) and rank(item) == 0):
            dropped.append(before)
            before += 1
        elif _is_tensor(item):
            step = extra if not seen else 0
            seen, before, after = True, before + step, after + step
        else:
            before, after = before + 1, after + 1
    if dropped:
        x = t.op("Squeeze", x, t.constant(np.array(dropped)))
    return t.op("Unsqueeze", x, t.constant(np.array(added))) if added else x


@translates("operator.setitem")
def setitem(t: Translator, x: ir.Value, index: Any, value: Any) -> ir.Value:
    """What `x` is after ``x[index] = value``: elements of `value` where a constant mask says so.

    The sizes of the axes that are indexed have to be fixed.
    """
    assert x.dtype is not None
    if isinstance(index, ir.Value) and index.dtype == ir.DataType.BOOL:
        trailing = rank(x) - rank(index)
        mask = t.op("Unsqueeze", index, t.constant(np.arange(-trailing, 0))) if trailing else index
        return t.op("Where", mask, t.like(value, x), x)
    items = _expanded(x, index)
    if any(item is None or isinstance(item, ir.Value) for item in items):
        raise ModelError(
            "assigning to elements that are chosen at run time has no ONNX form; use torch.where"
        )
    mask, moved, kept = np.ones((1,) * rank(x), bool), t.like(value, x), 0
    chosen: list[tuple[int, np.ndarray]] = []
    for axis, item in enumerate(items):
        kept += not isinstance(item, int)
        if item == slice(None):
            continue
        (size,) = t.fixed_sizes("assigning to elements", (axis,))
        places = np.arange(size)[[item] if isinstance(item, int) else item].reshape(-1)
        along = np.zeros(size, bool)
        along[places] = True
        mask = mask & along.reshape([-1 if other == axis else 1 for other in range(rank(x))])
        chosen.append((axis, places))
    if rank(moved):
        moved = _placed(t, moved, x, items, chosen, kept)
    return t.op("Where", t.constant(mask), moved, x)


def _placed(
    t: Translator,
    value: ir.Value,
    x: ir.Value,
    items: list[Any],
    chosen: list[tuple[int, np.ndarray]],
    kept: int,
) -> ir.Value:
    """`value` spread to the size of `x`: at the chosen places its elements, elsewhere any."""
    if rank(value) < kept:
        value = t.op("Unsqueeze", value, t.constant(np.arange(kept - rank(value))))
    ints = [axis for axis, item in enumerate(items) if isinstance(item, int)]
    if ints:
        value = t.op("Unsqueeze", value, t.constant(np.array(ints)))
    for axis, places in chosen:
        length = (value.shape or ())[axis]
        if axis in ints or length == 1:
            continue
        (size,) = t.fixed_sizes("assigning to elements", (axis,))
        source = np.zeros(size, np.int64)
        source[places] = np.arange(len(places))
        value = t.op("Gather", value, t.constant(source), axis=axis)
    return value


@translates("torch.index_select", "Tensor.index_select")
def index_select(t: Translator, x: ir.Value, dim: int, index: ir.Value) -> ir.Value:
    return t.op("Gather", x, index, axis=dim)


@translates("torch.gather", "Tensor.gather")
def gather(t: Translator, x: ir.Value, dim: int, index: ir.Value, *, sparse_grad: bool = False) -> ir.Value:
    return t.op("GatherElements", x, index, axis=dim)


@translates("torch.take_along_dim", "Tensor.take_along_dim")
def take_along_dim(t: Translator, x: ir.Value, indices: ir.Value, dim: int) -> ir.Value:
    return t.op("GatherElements", x, indices, axis=dim)


@translates("torch.scatter", "Tensor.scatter", "Tensor.scatter_")
def scatter(
    t: Translator, x: ir.Value, dim: int, index: ir.Value, src: Any = None, *, value: Any = None
) -> ir.Value:
    source = value if src is None else src
    if not isinstance(source, ir.Value):
        source = t.op("Expand", t.like(source, x), t.op("Shape", index))
    return t.op("ScatterElements", x, index, source, axis=dim)


@translates("torch.scatter_add", "Tensor.scatter_add", "Tensor.scatter_add_")
def scatter_add(t: Translator, x: ir.Value, dim: int, index: ir.Value, src: ir.Value) -> ir.Value:
    return t.op("ScatterElements", x, index, src, axis=dim, reduction="add")


@translates("torch.take", "Tensor.take")
def take(t: Translator, x: ir.Value, index: ir.Value) -> ir.Value:
    return t.op("Gather", t.op("Reshape", x, t.constant(np.array([-1]))), index, axis=0)


@translates(f"{F}embedding", "torch.embedding")
def embedding(t: Translator, input: Any, weight: Any, *args: Any, **kwargs: Any) -> ir.Value:
    indices, matrix = input, weight
    if indices.dtype in (
        ir.DataType.FLOAT,
        ir.DataType.FLOAT16,
        ir.DataType.DOUBLE,
    ):  # torch.embedding(weight, i)
        indices, matrix = matrix, indices
    return t.op("Gather", matrix, indices, axis=0)


@translates(f"{F}one_hot")
def one_hot(t: Translator, tensor: ir.Value, num_classes: int = -1) -> ir.Value:
    if num_classes < 0:
        raise ModelError("one_hot needs num_classes: otherwise its result's shape depends on the data")
    return t.op("OneHot", tensor, t.constant(np.array(num_classes)), t.constant(np.array([0, 1])), axis=-1)


@translates("torch.topk", "Tensor.topk")
def topk(
    t: Translator, x: ir.Value, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[ir.Value]:
    return t.ops("TopK", x, t.ints(k), outputs=2, axis=dim, largest=int(largest), sorted=int(sorted))


@translates("torch.sort", "Tensor.sort")
def sort(
    t: Translator, x: ir.Value, dim: int = -1, descending: bool = False, stable: bool = False
) -> list[ir.Value]:
    size = t.op("Gather", t.op("Shape", x), t.constant(np.array([dim % rank(x)])), axis=0)
    return t.ops("TopK", x, size, outputs=2, axis=dim, largest=int(descending), sorted=1)


@translates("torch.argsort", "Tensor.argsort")
def argsort(
    t: Translator, x: ir.Value, dim: int = -1, descending: bool = False, stable: bool = False
) -> ir.Value:
    return sort(t, x, dim, descending)[1]
