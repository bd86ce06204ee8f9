"""Variances, norms, running sums, and what is asked of truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import shape_of
from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.converters.pytorch.ops.reduction import reduced
from knight.errors import ModelError


@translates("torch.var", "Tensor.var")
def var(
    t: Translator,
    x: ir.Value,
    dim: Any = None,
    unbiased: Any = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> ir.Value:
    axes = t.constant(np.array(t.axes(x, None if isinstance(dim, bool) else dim)))
    freedom = _freedom(dim, unbiased, correction)
    mean = t.op("ReduceMean", x, axes, keepdims=1)
    moved = t.op("Sub", x, mean)
    total = t.op("ReduceSum", t.op("Mul", moved, moved), axes, keepdims=int(keepdim))
    return t.op("Div", total, _count(t, x, t.axes(x, None if isinstance(dim, bool) else dim), freedom))


def _count(t: Translator, x: ir.Value, axes: list[int], freedom: float) -> ir.Value:
    """Elements along `axes`, less the degrees of freedom."""
    sizes = [(shape_of(x) or ())[axis] for axis in axes]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        return t.like(max(0.0, np.prod(known) - freedom), x)
    open_sizes = t.op("Gather", t.op("Shape", x), t.constant(np.array(axes)), axis=0)
    count = t.like(t.op("ReduceProd", open_sizes, keepdims=0), x)
    return t.op("Sub", count, t.like(freedom, x)) if freedom else count


def _freedom(dim: Any, unbiased: Any, correction: Any) -> float:
    if correction is not None:
        return float(correction)
    if isinstance(dim, bool):  # var(x, unbiased)
        return float(dim)
    return float(bool(unbiased))


@translates("torch.std", "Tensor.std")
def std(
    t: Translator,
    x: ir.Value,
    dim: Any = None,
    unbiased: Any = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> ir.Value:
    return t.op("Sqrt", var(t, x, dim, unbiased, keepdim, correction=correction))


@translates("torch.var_mean")
def var_mean(
    t: Translator,
    x: ir.Value,
    dim: Any = None,
    unbiased: Any = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Any:
    axes = None if isinstance(dim, bool) else dim
    mean = reduced(t, "ReduceMean", x, axes, keepdim)
    return var(t, x, dim, unbiased, keepdim, correction=correction), mean


@translates("torch.std_mean")
def std_mean(t: Translator, x: ir.Value, *args: Any, **kwargs: Any) -> Any:
    variance, mean = var_mean(t, x, *args, **kwargs)
    return t.op("Sqrt", variance), mean


@translates("torch.norm", "Tensor.norm", "torch.functional.norm")
def norm(
    t: Translator,
    x: ir.Value,
    p: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    out: Any = None,
    dtype: Any = None,
) -> ir.Value:
    """(sum |x|^p)^(1/p); its limits for infinite p, and the number of elements that are not zero for 0."""
    order = 2 if p in (None, "fro") else p
    if order == "nuc":
        raise ModelError("the nuclear norm needs singular values, which ONNX has not")
    if order in (1, 2):
        return reduced(t, f"ReduceL{int(order)}", x, dim, keepdim)
    size = t.op("Abs", x)
    if abs(order) == float("inf"):
        return reduced(t, "ReduceMax" if order > 0 else "ReduceMin", size, dim, keepdim)
    if order == 0:
        return reduced(t, "ReduceSum", t.op("Sign", size), dim, keepdim)
    total = reduced(t, "ReduceSum", t.op("Pow", size, t.like(order, x)), dim, keepdim)
    return t.op("Pow", total, t.like(1 / order, x))


@translates("torch.linalg.vector_norm")
def vector_norm(
    t: Translator, x: ir.Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, **kwargs: Any
) -> ir.Value:
    return norm(t, x, ord, dim, keepdim)


@translates("torch.linalg.norm")
def linalg_norm(
    t: Translator, x: ir.Value, ord: Any = None, dim: Any = None, keepdim: bool = False, **kwargs: Any
) -> ir.Value:
    axes = t.axes(x, dim)
    of_matrix = ord not in (None, "fro") and len(axes) == 2 and (dim is not None or rank(x) == 2)
    return matrix_norm(t, x, ord, dim or (-2, -1), keepdim) if of_matrix else norm(t, x, ord, dim, keepdim)


@translates("torch.linalg.matrix_norm")
def matrix_norm(
    t: Translator, x: ir.Value, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, **kwargs: Any
) -> ir.Value:
    if ord != "fro":
        raise ModelError(f"the matrix norm {ord!r}: ONNX knows neither singular values nor this; use 'fro'")
    return norm(t, x, 2, dim, keepdim)


@translates("torch.dist", "Tensor.dist")
def dist(t: Translator, x: ir.Value, other: ir.Value, p: Any = 2) -> ir.Value:
    return norm(t, t.op("Sub", x, other), p)


@translates("torch.cumsum", "Tensor.cumsum")
def cumsum(t: Translator, x: ir.Value, dim: int, *, dtype: Any = None) -> ir.Value:
    return t.op("CumSum", t.value(x, t.dtype), t.constant(np.array(dim)))


@translates("torch.all", "Tensor.all")
def all_(t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False) -> ir.Value:
    return t.value(reduced(t, "ReduceMin", t.value(t.value(x, np.bool_), np.int32), dim, keepdim), np.bool_)


@translates("torch.any", "Tensor.any")
def any_(t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False) -> ir.Value:
    return t.value(reduced(t, "ReduceMax", t.value(t.value(x, np.bool_), np.int32), dim, keepdim), np.bool_)


@translates("torch.cumprod", "Tensor.cumprod")
def cumprod(t: Translator, x: ir.Value, dim: int, *, dtype: Any = None) -> ir.Value:
    """Product after product: the axis has to be short."""
    axis = t.axes(x, dim)[0]
    (size,) = t.fixed_sizes("cumprod", (axis,))
    pieces = t.ops("Split", t.value(x, t.dtype), outputs=size, axis=axis, num_outputs=size)
    for place in range(1, size):
        pieces[place] = t.op("Mul", pieces[place - 1], pieces[place])
    return t.op("Concat", *pieces, axis=axis)


@translates("torch.diff", "Tensor.diff")
def diff(t: Translator, x: ir.Value, n: int = 1, dim: int = -1) -> ir.Value:
    zero, one, end, axis = (t.constant(np.array([i])) for i in (0, 1, -1, dim))
    last = t.constant(np.array([np.iinfo(np.int64).max]))
    for _ in range(n):
        x = t.op("Sub", t.op("Slice", x, one, last, axis), t.op("Slice", x, zero, end, axis))
    return x


@translates("torch.isclose", "Tensor.isclose")
def isclose(
    t: Translator,
    x: ir.Value,
    other: ir.Value,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> ir.Value:
    allowed = t.op("Add", t.op("Mul", t.op("Abs", other), t.like(rtol, x)), t.like(atol, x))
    return t.op("LessOrEqual", t.op("Abs", t.op("Sub", x, other)), allowed)
