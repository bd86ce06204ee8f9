"""Products of vectors, matrices and more."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates


@translates(
    "torch.matmul", "Tensor.matmul", "operator.matmul", "torch.mm", "Tensor.mm", "torch.bmm", "Tensor.bmm"
)
@translates("torch.mv", "Tensor.mv", "torch.dot", "Tensor.dot", "torch.inner", "torch.chain_matmul")
def matmul(t: Translator, x: ir.Value, other: ir.Value, *, out: Any = None) -> ir.Value:
    return t.op("MatMul", x, other)


@translates("torch.addmm", "Tensor.addmm")
def addmm(
    t: Translator, x: ir.Value, mat1: ir.Value, mat2: ir.Value, *, beta: float = 1, alpha: float = 1
) -> ir.Value:
    return t.op("Gemm", mat1, mat2, x, alpha=float(alpha), beta=float(beta))


@translates("torch.baddbmm", "Tensor.baddbmm", "torch.addbmm")
def baddbmm(
    t: Translator, x: ir.Value, batch1: ir.Value, batch2: ir.Value, *, beta: float = 1, alpha: float = 1
) -> ir.Value:
    product = t.op("MatMul", batch1, batch2)
    if alpha != 1:
        product = t.op("Mul", product, t.like(alpha, product))
    return t.op("Add", x if beta == 1 else t.op("Mul", x, t.like(beta, x)), product)


@translates("torch.outer", "Tensor.outer", "torch.ger")
def outer(t: Translator, x: ir.Value, vec2: ir.Value) -> ir.Value:
    column = t.op("Unsqueeze", x, t.constant(np.array([1])))
    return t.op("Mul", column, t.op("Unsqueeze", vec2, t.constant(np.array([0]))))


@translates("torch.einsum", "torch.functional.einsum")
def einsum(t: Translator, equation: str, *operands: Any) -> ir.Value:
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    return t.op("Einsum", *tensors, equation=equation.replace(" ", ""))


@translates("torch.cross", "torch.linalg.cross", "Tensor.cross")
def cross(t: Translator, x: ir.Value, other: ir.Value, dim: int = -1) -> ir.Value:
    def turned(value: ir.Value, by: list[int]) -> ir.Value:
        return t.op("Gather", value, t.constant(np.array(by)), axis=dim)

    left = t.op("Mul", turned(x, [1, 2, 0]), turned(other, [2, 0, 1]))
    return t.op("Sub", left, t.op("Mul", turned(x, [2, 0, 1]), turned(other, [1, 2, 0])))


@translates("torch.cdist")
def cdist(t: Translator, x1: ir.Value, x2: ir.Value, p: float = 2.0, compute_mode: str = "") -> ir.Value:
    left = t.op("Unsqueeze", x1, t.constant(np.array([rank(x1) - 1])))
    right = t.op("Unsqueeze", x2, t.constant(np.array([rank(x2) - 2])))
    apart, last = t.op("Sub", left, right), t.constant(np.array([-1]))
    if p in (1, 2):
        return t.op(f"ReduceL{int(p)}", apart, last, keepdims=0)
    total = t.op("ReduceSum", t.op("Pow", t.op("Abs", apart), t.like(p, x1)), last, keepdims=0)
    return t.op("Pow", total, t.like(1 / p, x1))
