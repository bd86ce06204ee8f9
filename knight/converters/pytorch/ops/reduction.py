"""Sums, means, extremes and other reductions along axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates

REDUCTIONS = {
    "sum": "ReduceSum",
    "mean": "ReduceMean",
    "amax": "ReduceMax",
    "amin": "ReduceMin",
    "prod": "ReduceProd",
    "logsumexp": "ReduceLogSumExp",
}


def _reduce(t: Translator, op_type: str, x: ir.Value, dim: Any, keepdim: bool) -> ir.Value:
    axes = None if dim is None or dim == () else t.constant(np.array(t.axes(x, dim)))
    return t.op(op_type, x, axes, keepdims=int(keepdim))


def _reduction(op_type: str) -> Any:
    def handler(
        t: Translator,
        x: ir.Value,
        dim: Any = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
        out: Any = None,
    ) -> ir.Value:
        return _reduce(t, op_type, t.value(x, t.dtype), dim, keepdim)

    return handler


for _name, _op in REDUCTIONS.items():
    translates(f"torch.{_name}", f"Tensor.{_name}")(_reduction(_op))


def _extreme(kind: str) -> Any:
    def handler(
        t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False, *, other: Any = None
    ) -> Any:
        if isinstance(dim, ir.Value) or other is not None:
            return t.op(kind, x, t.value(dim if other is None else other, t.dtype))
        values = _reduce(t, f"Reduce{kind}", x, dim, keepdim)
        if dim is None:
            return values
        return values, t.op(f"Arg{kind}", x, axis=dim, keepdims=int(keepdim))

    return handler


translates("torch.max", "Tensor.max")(_extreme("Max"))
translates("torch.min", "Tensor.min")(_extreme("Min"))


def _place(kind: str) -> Any:
    def handler(t: Translator, x: ir.Value, dim: int | None = None, keepdim: bool = False) -> ir.Value:
        if dim is None:
            flat = t.op("Reshape", x, t.constant(np.array([-1])))
            found = t.op(f"Arg{kind}", flat, axis=0, keepdims=0)
            return t.op("Reshape", found, t.constant(np.ones(rank(x), np.int64))) if keepdim else found
        return t.op(f"Arg{kind}", x, axis=dim, keepdims=int(keepdim))

    return handler


translates("torch.argmax", "Tensor.argmax")(_place("Max"))
translates("torch.argmin", "Tensor.argmin")(_place("Min"))


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
    sizes = t.op("ReduceProd", t.op("Gather", t.op("Shape", x), axes, axis=0), keepdims=0)
    count = t.op("Sub", t.like(sizes, x), t.like(freedom, x))
    return t.op("Div", total, count)


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
    mean = t.op("ReduceMean", x, t.constant(np.array(t.axes(x, dim))), keepdims=int(keepdim))
    return var(t, x, dim, unbiased, keepdim, correction=correction), mean


@translates(
    "torch.norm", "Tensor.norm", "torch.functional.norm", "torch.linalg.norm", "torch.linalg.vector_norm"
)
def norm(
    t: Translator,
    x: ir.Value,
    p: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    ord: Any = None,
    out: Any = None,
    dtype: Any = None,
) -> ir.Value:
    order = p if ord is None else ord
    order = 2 if order in (None, "fro") else order
    if order in (1, 2):
        return _reduce(t, f"ReduceL{int(order)}", x, dim, keepdim)
    size = t.op("Abs", x)
    if abs(order) == float("inf"):
        return _reduce(t, "ReduceMax" if order > 0 else "ReduceMin", size, dim, keepdim)
    total = _reduce(t, "ReduceSum", t.op("Pow", size, t.like(order, x)), dim, keepdim)
    return t.op("Pow", total, t.like(1 / order, x))


@translates("torch.cumsum", "Tensor.cumsum")
def cumsum(t: Translator, x: ir.Value, dim: int, *, dtype: Any = None) -> ir.Value:
    return t.op("CumSum", t.value(x, t.dtype), t.constant(np.array(dim)))


@translates("torch.all", "Tensor.all")
def all_(t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False) -> ir.Value:
    return t.value(_reduce(t, "ReduceMin", t.value(t.value(x, np.bool_), np.int32), dim, keepdim), np.bool_)


@translates("torch.any", "Tensor.any")
def any_(t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False) -> ir.Value:
    return t.value(_reduce(t, "ReduceMax", t.value(t.value(x, np.bool_), np.int32), dim, keepdim), np.bool_)
