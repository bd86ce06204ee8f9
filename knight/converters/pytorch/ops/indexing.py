"""Indexing: x[...], x[...] = y, gather, scatter, embedding and their like."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import shape_of
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
            "indexing with a tensor of booleans gives a shape that depends on the data; "
            "use torch.where or a product"
        )
    used = sum(item is not None and item is not Ellipsis for item in items)
    fill = [slice(None)] * (rank(x) - used)
    place = next((i for i, item in enumerate(items) if item is Ellipsis), None)
    return items + fill if place is None else items[:place] + fill + items[place + 1 :]


def _as_index(item: Any) -> Any:
    """Sequences of integers are tensors to torch."""
    if isinstance(item, (list, tuple, np.ndarray)):
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
    shape = _common_shape(t, indices)
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
        if isinstance(value, ir.Value) and rank(value) > trailing and set(shape_of(value) or ()) != {1}:
            raise ModelError("assigning one element each where a mask is true; use torch.where")
        where = t.op("Unsqueeze", index, t.constant(np.arange(-trailing, 0))) if trailing else index
        return t.op("Where", where, t.like(value, x), x)
    items = _expanded(x, index)
    if any(isinstance(item, ir.Value) for item in items):
        return _stored(t, x, items, value)
    if any(item is None for item in items):
        raise ModelError("assigning through None has no ONNX form; leave it out and reshape what is assigned")
    mask, moved, kept = np.ones((1,) * rank(x), bool), t.like(value, x), 0
    chosen: list[tuple[int, np.ndarray]] = []
    for axis, item in enumerate(items):
        kept += not isinstance(item, int)
        if isinstance(item, slice) and item == slice(None):
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


def _stored(t: Translator, x: ir.Value, items: list[Any], value: Any) -> ir.Value:
    """``x[i, j] = value`` for index tensors of the first axes."""
    count = next((place for place, item in enumerate(items) if isinstance(item, slice)), len(items))
    if any(not (isinstance(item, slice) and item == slice(None)) for item in items[count:]):
        raise ModelError(
            "assigning to elements that are chosen at run time has no ONNX form here; use torch.where"
        )
    return index_put(t, x, items[:count], value)


@translates("torch.index_put", "Tensor.index_put", "Tensor.index_put_")
def index_put(t: Translator, x: ir.Value, indices: Any, values: Any, accumulate: bool = False) -> ir.Value:
    given = [t.value(index, np.int64) for index in indices]
    if any(index.dtype == ir.DataType.BOOL for index in indices if isinstance(index, ir.Value)):
        raise ModelError("index_put with a mask: use torch.where")
    shape = _common_shape(t, given)
    last = t.constant(np.array([-1]))
    places = t.op("Concat", *(t.op("Unsqueeze", t.op("Expand", i, shape), last) for i in given), axis=-1)
    rest = t.op("Slice", t.op("Shape", x), t.constant(np.array([len(given)])), t.constant(np.array([END])))
    source = t.op("Expand", t.like(values, x), t.op("Concat", shape, rest, axis=0))
    return t.op("ScatterND", x, places, source, reduction="add" if accumulate else None)


def _common_shape(t: Translator, values: list[ir.Value]) -> ir.Value:
    """The shape to which all broadcast."""
    shape = t.op("Shape", values[0])
    for other in values[1:]:
        shape = t.op("Shape", t.op("Expand", other, shape))
    return shape
