"""What index tensors choose and fill: gather, scatter, embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import shape_of
from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

F = "torch.nn.functional."
REDUCTIONS = {"sum": "add", "add": "add", "prod": "mul", "multiply": "mul", "amax": "max", "amin": "min"}
SHAPE_OF_DATA = "has a result whose shape depends on the data; keep all elements, and use torch.where"


@translates("torch.index_select", "Tensor.index_select")
def index_select(t: Translator, x: ir.Value, dim: int, index: ir.Value) -> ir.Value:
    return t.op("Gather", x, index, axis=dim)


@translates("torch.gather", "Tensor.gather")
def gather(t: Translator, x: ir.Value, dim: int, index: ir.Value, *, sparse_grad: bool = False) -> ir.Value:
    return t.op("GatherElements", x, index, axis=dim)


@translates("torch.take_along_dim", "Tensor.take_along_dim")
def take_along_dim(t: Translator, x: ir.Value, indices: ir.Value, dim: int) -> ir.Value:
    """torch broadcasts both, except along `dim`."""
    shape, axis = t.op("Shape", x), dim % rank(x)
    before = t.op("Slice", shape, t.constant(np.array([0])), t.constant(np.array([axis])))
    after = t.op("Slice", shape, t.constant(np.array([axis + 1])), t.constant(np.array([rank(x)])))
    one = t.constant(np.array([1]))
    indices = t.op("Expand", indices, t.op("Concat", before, one, after, axis=0))
    return t.op("GatherElements", x, indices, axis=dim)


@translates("torch.scatter", "Tensor.scatter", "Tensor.scatter_")
def scatter(
    t: Translator,
    x: ir.Value,
    dim: int,
    index: ir.Value,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> ir.Value:
    source = t.like(value if src is None else src, x)
    source = _cut(t, source, index) if rank(source) else t.op("Expand", source, t.op("Shape", index))
    reduction = None if reduce is None else REDUCTIONS[reduce]
    return t.op("ScatterElements", x, index, source, axis=dim, reduction=reduction)


def _cut(t: Translator, source: ir.Value, index: ir.Value) -> ir.Value:
    """torch lets the source be larger than the index; ONNX wants one size."""
    if shape_of(source) == shape_of(index):
        return source
    zeros = t.constant(np.zeros(rank(index), np.int64))
    return t.op("Slice", source, zeros, t.op("Shape", index))


@translates("torch.scatter_reduce", "Tensor.scatter_reduce", "Tensor.scatter_reduce_")
def scatter_reduce(
    t: Translator,
    x: ir.Value,
    dim: int,
    index: ir.Value,
    src: ir.Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> ir.Value:
    if reduce not in REDUCTIONS or not include_self:
        raise ModelError(f"scatter_reduce with {reduce!r} and include_self={include_self} has no ONNX form")
    return t.op("ScatterElements", x, index, _cut(t, src, index), axis=dim, reduction=REDUCTIONS[reduce])


@translates("torch.scatter_add", "Tensor.scatter_add", "Tensor.scatter_add_")
def scatter_add(t: Translator, x: ir.Value, dim: int, index: ir.Value, src: ir.Value) -> ir.Value:
    return t.op("ScatterElements", x, index, _cut(t, src, index), axis=dim, reduction="add")


@translates("torch.index_add", "Tensor.index_add", "Tensor.index_add_")
def index_add(
    t: Translator, x: ir.Value, dim: int, index: ir.Value, source: ir.Value, *, alpha: float = 1
) -> ir.Value:
    added = source if alpha == 1 else t.op("Mul", source, t.like(alpha, source))
    return t.op("ScatterElements", x, _spread(t, x, dim, index, added), added, axis=dim, reduction="add")


@translates("torch.index_copy", "Tensor.index_copy", "Tensor.index_copy_")
def index_copy(t: Translator, x: ir.Value, dim: int, index: ir.Value, source: ir.Value) -> ir.Value:
    return t.op("ScatterElements", x, _spread(t, x, dim, index, source), source, axis=dim)


@translates("torch.index_fill", "Tensor.index_fill", "Tensor.index_fill_")
def index_fill(t: Translator, x: ir.Value, dim: int, index: ir.Value, value: Any) -> ir.Value:
    replaced = t.op("Gather", x, index, axis=dim)
    filled = t.op("Expand", t.like(value, x), t.op("Shape", replaced))
    return t.op("ScatterElements", x, _spread(t, x, dim, index, filled), filled, axis=dim)


def _spread(t: Translator, x: ir.Value, dim: int, index: ir.Value, source: ir.Value) -> ir.Value:
    """One index per element of `source`, from one per row along `dim`."""
    axis = dim % rank(x)
    column = t.op("Reshape", index, t.constant(np.array([-1] + [1] * (rank(x) - 1 - axis))))
    return t.op("Expand", column, t.op("Shape", source))


@translates("torch.take", "Tensor.take")
def take(t: Translator, x: ir.Value, index: ir.Value) -> ir.Value:
    return t.op("Gather", t.op("Reshape", x, t.constant(np.array([-1]))), index, axis=0)


@translates(f"{F}embedding")
def embedding(t: Translator, input: ir.Value, weight: ir.Value, *args: Any, **kwargs: Any) -> ir.Value:
    return t.op("Gather", weight, input, axis=0)


@translates("torch.embedding")
def torch_embedding(
    t: Translator, weight: ir.Value, indices: ir.Value, *args: Any, **kwargs: Any
) -> ir.Value:
    return t.op("Gather", weight, indices, axis=0)


@translates(f"{F}embedding_bag")
def embedding_bag(
    t: Translator,
    input: ir.Value,
    weight: ir.Value,
    offsets: ir.Value | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: ir.Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> ir.Value:
    if offsets is not None or padding_idx is not None:
        raise ModelError(
            "EmbeddingBag with offsets or padding_idx; give it bags of one size: [batch, length]"
        )
    rows = t.op("Gather", weight, input, axis=0)
    if per_sample_weights is not None:
        rows = t.op("Mul", rows, t.op("Unsqueeze", per_sample_weights, t.constant(np.array([-1]))))
    op_type = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}[mode]
    return t.op(op_type, rows, t.constant(np.array([1])), keepdims=0)


@translates(f"{F}one_hot")
def one_hot(t: Translator, tensor: ir.Value, num_classes: int = -1) -> ir.Value:
    if num_classes < 0:
        raise ModelError("one_hot needs num_classes: otherwise its result's shape depends on the data")
    return t.op(
        "OneHot",
        t.value(tensor, np.int64),
        t.constant(np.array(num_classes)),
        t.constant(np.array([0, 1])),
        axis=-1,
    )


@translates("torch.nonzero", "Tensor.nonzero", "torch.masked_select", "Tensor.masked_select")
@translates("torch.argwhere", "Tensor.argwhere")
def of_data(t: Translator, x: ir.Value, *args: Any, **kwargs: Any) -> ir.Value:
    raise ModelError(SHAPE_OF_DATA)
