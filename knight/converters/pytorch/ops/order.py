"""Order: the largest, the smallest, the one in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates


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


@translates("torch.msort", "Tensor.msort")
def msort(t: Translator, x: ir.Value) -> ir.Value:
    return sort(t, x, 0)[0]


@translates("torch.kthvalue", "Tensor.kthvalue")
def kthvalue(t: Translator, x: ir.Value, k: int, dim: int = -1, keepdim: bool = False) -> list[ir.Value]:
    smallest = t.ops("TopK", x, t.constant(np.array([k])), outputs=2, axis=dim, largest=0)
    last, axis = t.constant(np.array([k - 1])), t.constant(np.array([dim]))
    found = [t.op("Gather", part, last, axis=dim) for part in smallest]
    return found if keepdim else [t.op("Squeeze", part, axis) for part in found]


@translates("torch.median", "Tensor.median")
def median(t: Translator, x: ir.Value, dim: int | None = None, keepdim: bool = False) -> Any:
    """Of an even number of elements, the lower of both in the middle."""
    axes = t.axes(x, dim)
    size = int(np.prod(t.fixed_sizes("median", axes)))
    if dim is not None:
        return kthvalue(t, x, (size + 1) // 2, dim, keepdim)
    return kthvalue(t, t.op("Reshape", x, t.constant(np.array([-1]))), (size + 1) // 2)[0]
