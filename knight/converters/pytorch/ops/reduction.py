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


def reduced(t: Translator, op_type: str, x: ir.Value, dim: Any, keepdim: bool) -> ir.Value:
    """`op_type` along `dim`: one axis, several, or all for None."""
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
        return reduced(t, op_type, t.value(x, t.dtype), dim, keepdim)

    return handler


for _name, _op in REDUCTIONS.items():
    translates(f"torch.{_name}", f"Tensor.{_name}")(_reduction(_op))


@translates("torch.nansum", "Tensor.nansum")
def nansum(
    t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> ir.Value:
    return reduced(t, "ReduceSum", t.op("Where", t.op("IsNaN", x), t.like(0, x), x), dim, keepdim)


@translates("torch.nanmean", "Tensor.nanmean")
def nanmean(
    t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> ir.Value:
    count = reduced(t, "ReduceSum", t.like(t.op("Not", t.op("IsNaN", x)), x), dim, keepdim)
    return t.op("Div", nansum(t, x, dim, keepdim), count)


@translates("torch.count_nonzero", "Tensor.count_nonzero")
def count_nonzero(t: Translator, x: ir.Value, dim: Any = None) -> ir.Value:
    return reduced(t, "ReduceSum", t.value(t.value(x, np.bool_), np.int64), dim, False)


def _extreme(kind: str) -> Any:
    """torch.max and torch.min: of all, of two tensors, or along an axis with the places."""

    def handler(
        t: Translator, x: ir.Value, dim: Any = None, keepdim: bool = False, *, other: Any = None
    ) -> Any:
        if isinstance(dim, ir.Value) or other is not None:
            return t.op(kind, t.value(x, t.dtype), t.value(dim if other is None else other, t.dtype))
        values = reduced(t, f"Reduce{kind}", x, dim, keepdim)
        if dim is None:
            return values
        return values, t.op(f"Arg{kind}", x, axis=dim, keepdims=int(keepdim))

    return handler


translates("torch.max", "Tensor.max")(_extreme("Max"))
translates("torch.min", "Tensor.min")(_extreme("Min"))


@translates("torch.aminmax", "Tensor.aminmax")
def aminmax(t: Translator, x: ir.Value, *, dim: int | None = None, keepdim: bool = False) -> Any:
    return [reduced(t, op_type, x, dim, keepdim) for op_type in ("ReduceMin", "ReduceMax")]


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
