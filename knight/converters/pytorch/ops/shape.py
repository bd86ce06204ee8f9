"""Everything that moves, joins, cuts or makes tensors without computing with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import shape_of
from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

F = "torch.nn.functional."


def all_sizes(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sizes given one by one or as one sequence."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


@translates("Tensor.view", "Tensor.reshape", "torch.reshape", "Tensor.resize", "Tensor.reshape_")
def reshape(t: Translator, x: ir.Value, *shape: Any, size: Any = None) -> ir.Value:
    sizes = all_sizes(shape) if shape else tuple(size)
    if len(sizes) == 1 and not isinstance(sizes[0], (int, ir.Value)):  # view(dtype)
        raise ModelError("view to another type reads the bits anew, which ONNX cannot; use .to(dtype)")
    return t.reshape(x, sizes)


@translates("Tensor.view_as", "Tensor.reshape_as")
def view_as(t: Translator, x: ir.Value, other: ir.Value) -> ir.Value:
    return t.op("Reshape", x, t.op("Shape", other))


@translates("torch.flatten", "Tensor.flatten")
def flatten(t: Translator, x: ir.Value, start_dim: int = 0, end_dim: int = -1) -> ir.Value:
    if start_dim == 1 and end_dim in (-1, rank(x) - 1) and rank(x) > 2:
        return t.op("Flatten", x, axis=1)
    return t.reshape(x)


@translates("Tensor.unflatten", "torch.unflatten", "Tensor.ravel", "torch.ravel", "Tensor._unsafe_view")
@translates(*(f"torch.functional.atleast_{n}d" for n in (1, 2, 3)))
def unflatten(t: Translator, x: ir.Value, *args: Any, **kwargs: Any) -> ir.Value:
    return t.reshape(x)


@translates("torch.squeeze", "Tensor.squeeze", "Tensor.squeeze_")
def squeeze(t: Translator, x: ir.Value, dim: Any = None) -> ir.Value:
    shape = tuple(t.inputs[0][0].shape)
    axes = [axis for axis in t.axes(x, dim) if shape[axis] == 1]
    return t.op("Squeeze", x, t.constant(np.array(axes))) if axes else t.op("Identity", x)


@translates("torch.unsqueeze", "Tensor.unsqueeze", "Tensor.unsqueeze_")
def unsqueeze(t: Translator, x: ir.Value, dim: int) -> ir.Value:
    return t.op("Unsqueeze", x, t.constant(np.array([dim])))


@translates("torch.transpose", "Tensor.transpose", "torch.swapaxes", "Tensor.swapaxes", "torch.swapdims")
def transpose(t: Translator, x: ir.Value, dim0: int, dim1: int) -> ir.Value:
    order = list(range(rank(x)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return t.op("Transpose", x, perm=order)


@translates("torch.permute", "Tensor.permute")
def permute(t: Translator, x: ir.Value, *dims: Any) -> ir.Value:
    return t.op("Transpose", x, perm=t.axes(x, all_sizes(dims)))


@translates("torch.t", "Tensor.t", "Tensor.T", "Tensor.mT", "Tensor.adjoint")
def swap_last(t: Translator, x: ir.Value) -> ir.Value:
    size = rank(x)
    return t.op("Identity", x) if size < 2 else transpose(t, x, -2, -1)


@translates("torch.movedim", "Tensor.movedim", "torch.moveaxis", "Tensor.moveaxis")
def movedim(t: Translator, x: ir.Value, source: Any, destination: Any) -> ir.Value:
    moved, targets = t.axes(x, source), t.axes(x, destination)
    rest = iter([axis for axis in range(rank(x)) if axis not in moved])
    placed = dict(zip(targets, moved, strict=True))
    return t.op("Transpose", x, perm=[placed[i] if i in placed else next(rest) for i in range(rank(x))])


@translates(
    *("Tensor.contiguous", "Tensor.clone", "torch.clone", "Tensor.detach", "torch.detach", "Tensor.cpu"),
    *("Tensor.cuda", "Tensor.requires_grad_", "Tensor.data", "Tensor.detach_", "torch.contiguous"),
    *("torch.nn.Identity", "Tensor.positive", "torch.positive", "torch.alias_copy"),
)
def unchanged(t: Translator, x: ir.Value, *args: Any, **kwargs: Any) -> ir.Value:
    return x


@translates(
    *("Tensor.to", "Tensor.type", "Tensor.type_as", "Tensor.float", "Tensor.double", "Tensor.half"),
    *("Tensor.int", "Tensor.long", "Tensor.short", "Tensor.char", "Tensor.byte", "Tensor.bool"),
)
def convert(t: Translator, x: ir.Value, *args: Any, **kwargs: Any) -> ir.Value:
    return t.value(x, t.dtype)


@translates("Tensor.expand", "torch.broadcast_to", "Tensor.broadcast_to")
def expand(t: Translator, x: ir.Value, *sizes: Any, implicit: bool = False) -> ir.Value:
    wanted = [1 if isinstance(size, int) and size == -1 else size for size in all_sizes(sizes)]
    return t.op("Expand", x, t.ints(wanted))


@translates("Tensor.expand_as")
def expand_as(t: Translator, x: ir.Value, other: ir.Value) -> ir.Value:
    return t.op("Expand", x, t.op("Shape", other))


@translates("Tensor.repeat", "torch.tile", "Tensor.tile")
def repeat(t: Translator, x: ir.Value, *repeats: Any, dims: Any = None) -> ir.Value:
    counts = list(all_sizes(repeats) if repeats else dims)
    missing = len(counts) - rank(x)
    if missing > 0:
        x = t.op("Unsqueeze", x, t.constant(np.arange(missing)))
    return t.op("Tile", x, t.ints([1] * -missing + counts))


@translates("torch.repeat_interleave", "Tensor.repeat_interleave")
def repeat_interleave(
    t: Translator, x: ir.Value, repeats: Any, dim: int | None = None, **kwargs: Any
) -> ir.Value:
    if not isinstance(repeats, int):
        raise ModelError("repeat_interleave with a tensor of counts gives a shape that depends on data")
    axis = 0 if dim is None else t.axes(x, dim)[0]
    if dim is None:
        x = t.op("Reshape", x, t.constant(np.array([-1])))
    spread_out = t.op("Unsqueeze", x, t.constant(np.array([axis + 1])))
    counts = [1] * (rank(x) + 1)
    counts[axis + 1] = repeats
    tiled = t.op("Tile", spread_out, t.constant(np.array(counts)))
    target = [0] * axis + [-1]
    rest = t.fixed_sizes("repeat_interleave", range(axis + 1, rank(x))) if dim is not None else []
    return t.op("Reshape", tiled, t.constant(np.array(target + rest)))


@translates("torch.cat", "torch.concat", "torch.concatenate")
def cat(t: Translator, tensors: Sequence[ir.Value], dim: int = 0, *, out: Any = None) -> ir.Value:
    return t.op("Concat", *(t.value(x, t.dtype) for x in tensors), axis=dim)


@translates("torch.stack")
def stack(t: Translator, tensors: Sequence[ir.Value], dim: int = 0, *, out: Any = None) -> ir.Value:
    axis = dim % (len(t.examples[0].shape))
    at = t.constant(np.array([axis]))
    return t.op("Concat", *(t.op("Unsqueeze", t.value(x, t.dtype), at) for x in tensors), axis=axis)


@translates("torch.hstack")
def hstack(t: Translator, tensors: Sequence[ir.Value]) -> ir.Value:
    return t.op("Concat", *tensors, axis=0 if rank(tensors[0]) == 1 else 1)


@translates("torch.vstack")
def vstack(t: Translator, tensors: Sequence[ir.Value]) -> ir.Value:
    first = t.constant(np.array([0]))
    return t.op("Concat", *(t.op("Unsqueeze", x, first) if rank(x) == 1 else x for x in tensors), axis=0)


@translates("torch.dstack")
def dstack(t: Translator, tensors: Sequence[ir.Value]) -> ir.Value:
    if rank(tensors[0]) < 3:
        raise ModelError("dstack of tensors with less than three dimensions: use torch.stack")
    return t.op("Concat", *tensors, axis=2)


@translates("torch.column_stack")
def column_stack(t: Translator, tensors: Sequence[ir.Value]) -> ir.Value:
    last = t.constant(np.array([1]))
    return t.op("Concat", *(t.op("Unsqueeze", x, last) if rank(x) == 1 else x for x in tensors), axis=1)


@translates("torch.split", "Tensor.split", "torch.split_with_sizes", "Tensor.split_with_sizes")
@translates("torch.functional.split")
def split(t: Translator, x: ir.Value, split_size_or_sections: Any = None, dim: int = 0, **kwargs: Any) -> Any:
    sizes = split_size_or_sections if split_size_or_sections is not None else kwargs.get("split_sizes")
    if isinstance(sizes, (tuple, list)) and any(isinstance(size, ir.Value) for size in sizes):
        return t.ops("Split", x, t.ints(list(sizes)), outputs=len(sizes), axis=dim)
    return _pieces(t, x, dim)


@translates("torch.chunk", "Tensor.chunk")
def chunk(t: Translator, x: ir.Value, chunks: int = 1, dim: int = 0) -> Any:
    if isinstance((shape_of(x) or ())[dim], int) or any(len(pieces) != chunks for pieces in t.examples):
        return _pieces(t, x, dim)
    return t.ops("Split", x, outputs=chunks, axis=dim, num_outputs=chunks)  # both round sizes up


@translates("torch.tensor_split", "Tensor.tensor_split")
def tensor_split(t: Translator, x: ir.Value, indices_or_sections: Any = None, dim: int = 0, **kw: Any) -> Any:
    return _pieces(t, x, dim)


def _splitting(axis: int) -> Any:
    def handler(t: Translator, x: ir.Value, indices_or_sections: Any = None, **kwargs: Any) -> Any:
        return _pieces(t, x, 0 if rank(x) == 1 else axis)

    return handler


for _axis, _name in enumerate(("vsplit", "hsplit", "dsplit")):
    translates(f"torch.{_name}", f"Tensor.{_name}")(_splitting(_axis))


def _pieces(t: Translator, x: ir.Value, dim: int) -> list[ir.Value]:
    """Cut as the example shows: torch has five rules for how many pieces of what size there are."""
    sizes = [piece.shape[dim] for piece in t.examples[0]]
    if len(sizes) == 1:
        return [t.op("Identity", x)]
    if any([piece.shape[dim] for piece in other] != sizes for other in t.examples):
        raise ModelError("an open dimension is cut into pieces here; fix its size")
    return t.ops("Split", x, t.constant(np.array(sizes)), outputs=len(sizes), axis=dim)


@translates("torch.unbind", "Tensor.unbind")
def unbind(t: Translator, x: ir.Value, dim: int = 0) -> list[ir.Value]:
    at = t.constant(np.array([dim]))
    return [t.op("Squeeze", piece, at) for piece in _each(t, x, dim)]


def _each(t: Translator, x: ir.Value, dim: int) -> list[ir.Value]:
    count = len(t.examples[0])
    if any(len(example) != count for example in t.examples):
        raise ModelError("an open dimension is taken apart here; fix its size")
    return [x] if count == 1 else t.ops("Split", x, outputs=count, axis=dim, num_outputs=count)


@translates("torch.narrow", "Tensor.narrow")
def narrow(t: Translator, x: ir.Value, dim: int, start: Any, length: Any) -> ir.Value:
    first = t.ints(start)
    return t.op("Slice", x, first, t.op("Add", first, t.ints(length)), t.constant(np.array([dim])))


@translates("torch.select", "Tensor.select")
def select(t: Translator, x: ir.Value, dim: int, index: Any) -> ir.Value:
    return t.op("Gather", x, t.value(index, np.int64), axis=dim)


@translates("torch.roll", "Tensor.roll")
def roll(t: Translator, x: ir.Value, shifts: Any, dims: Any = None) -> ir.Value:
    if dims is None:
        flat = t.op("Reshape", x, t.constant(np.array([-1])))
        return t.op("Reshape", _rolled(t, flat, 0, shifts), t.op("Shape", x))
    amounts = shifts if isinstance(shifts, (tuple, list)) else [shifts]
    for axis, amount in zip(t.axes(x, dims), amounts, strict=True):
        x = _rolled(t, x, axis, amount)
    return x


def _rolled(t: Translator, x: ir.Value, axis: int, amount: int) -> ir.Value:
    size = (shape_of(x) or ())[axis]
    if isinstance(size, int):
        amount %= size
    if amount == 0:
        return x
    cut, at = t.constant(np.array([-amount])), t.constant(np.array([axis]))
    zero, end = t.constant(np.array([0])), t.constant(np.array([np.iinfo(np.int64).max]))
    return t.op("Concat", t.op("Slice", x, cut, end, at), t.op("Slice", x, zero, cut, at), axis=axis)


@translates("torch.flip", "Tensor.flip")
def flip(t: Translator, x: ir.Value, *dims: Any) -> ir.Value:
    axes = np.array(all_sizes(dims))
    low = np.full(len(axes), np.iinfo(np.int64).min)
    steps = np.full(len(axes), -1)
    return t.op("Slice", x, *map(t.constant, (steps, low, axes, steps)))


def _flipping(axis: int) -> Any:
    def handler(t: Translator, x: ir.Value) -> ir.Value:
        return flip(t, x, axis)

    return handler


translates("torch.flipud", "Tensor.flipud")(_flipping(0))
translates("torch.fliplr", "Tensor.fliplr")(_flipping(1))


@translates("torch.rot90", "Tensor.rot90")
def rot90(t: Translator, x: ir.Value, k: int = 1, dims: Sequence[int] = (0, 1)) -> ir.Value:
    first, second = dims
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(t, x, first, second)
    if k % 4 == 1:
        return transpose(t, flip(t, x, second), first, second)
    return flip(t, transpose(t, x, first, second), second)


@translates(f"{F}pad", "torch._C._nn.pad")
def pad(
    t: Translator, input: ir.Value, pad: Sequence[Any], mode: str = "constant", value: Any = None
) -> ir.Value:
    """torch lists the pads of the last axis first."""
    if any(isinstance(amount, ir.Value) for amount in pad):
        raise ModelError("pads that are computed from open dimensions have no fixed form; fix the size")
    size, count = rank(input), len(pad) // 2
    amounts = np.zeros((2, size), np.int64)
    for axis in range(count):
        amounts[:, size - 1 - axis] = pad[2 * axis : 2 * axis + 2]
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    fill = t.like(0 if value is None else value, input) if mode == "constant" else None
    return t.op("Pad", input, t.constant(amounts.reshape(-1)), fill, mode=modes[mode])


@translates("Tensor.size", "operator.size")
def size(t: Translator, x: ir.Value, dim: int | None = None) -> Any:
    shape = t.op("Shape", x)
    if dim is None:
        return [t.op("Gather", shape, t.constant(np.array(i)), axis=0) for i in range(rank(x))]
    return t.op("Gather", shape, t.constant(np.array(dim % rank(x))), axis=0)


@translates("Tensor.shape")
def shape(t: Translator, x: ir.Value) -> Any:
    return size(t, x)


@translates("Tensor.numel", "torch.numel", "Tensor.nelement")
def numel(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Size", x)
