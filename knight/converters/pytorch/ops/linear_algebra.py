"""Products of vectors, matrices and more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError


@translates(
    "torch.matmul", "Tensor.matmul", "operator.matmul", "torch.mm", "Tensor.mm", "torch.bmm", "Tensor.bmm"
)
@translates("torch.mv", "Tensor.mv", "torch.dot", "Tensor.dot", "torch.vdot", "Tensor.vdot")
def matmul(t: Translator, x: ir.Value, other: ir.Value, *, out: Any = None) -> ir.Value:
    return t.op("MatMul", x, other)


@translates("torch.addmm", "Tensor.addmm")
def addmm(
    t: Translator, x: ir.Value, mat1: ir.Value, mat2: ir.Value, *, beta: float = 1, alpha: float = 1
) -> ir.Value:
    return t.op("Gemm", mat1, mat2, x, alpha=float(alpha), beta=float(beta))


@translates("torch.baddbmm", "Tensor.baddbmm", "torch.addmv", "Tensor.addmv")
def baddbmm(
    t: Translator, x: ir.Value, left: ir.Value, right: ir.Value, *, beta: float = 1, alpha: float = 1
) -> ir.Value:
    return _added(t, x, t.op("MatMul", left, right), beta, alpha)


@translates("torch.addbmm", "Tensor.addbmm")
def addbmm(
    t: Translator, x: ir.Value, left: ir.Value, right: ir.Value, *, beta: float = 1, alpha: float = 1
) -> ir.Value:
    product = t.op("ReduceSum", t.op("MatMul", left, right), t.constant(np.array([0])), keepdims=0)
    return _added(t, x, product, beta, alpha)


@translates("torch.addr", "Tensor.addr")
def addr(
    t: Translator, x: ir.Value, vec1: ir.Value, vec2: ir.Value, *, beta: float = 1, alpha: float = 1
) -> ir.Value:
    return _added(t, x, outer(t, vec1, vec2), beta, alpha)


def _added(t: Translator, x: ir.Value, product: ir.Value, beta: float, alpha: float) -> ir.Value:
    """beta * x + alpha * product."""
    if alpha != 1:
        product = t.op("Mul", product, t.like(alpha, product))
    return t.op("Add", x if beta == 1 else t.op("Mul", x, t.like(beta, x)), product)


@translates("torch.linalg.multi_dot")
def multi_dot(t: Translator, tensors: Sequence[ir.Value]) -> ir.Value:
    product, *others = tensors
    for other in others:
        product = t.op("MatMul", product, other)
    return product


@translates("torch.functional.chain_matmul")
def chain_matmul(t: Translator, *matrices: Any) -> ir.Value:
    return multi_dot(t, matrices)


@translates("torch.inner", "Tensor.inner")
def inner(t: Translator, x: ir.Value, other: ir.Value) -> ir.Value:
    """Over the last axes of both."""
    if rank(other) > 2:
        raise ModelError("torch.inner with more than two dimensions on the right; use torch.einsum")
    return t.op("MatMul", x, t.op("Transpose", other, perm=[1, 0]) if rank(other) == 2 else other)


@translates("torch.linalg.vecdot")
def vecdot(t: Translator, x: ir.Value, y: ir.Value, *, dim: int = -1) -> ir.Value:
    return t.op("ReduceSum", t.op("Mul", x, y), t.constant(np.array([dim])), keepdims=0)


@translates("torch.trace", "Tensor.trace")
def trace(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Einsum", x, equation="ii->")


@translates("torch.kron", "Tensor.kron")
def kron(t: Translator, x: ir.Value, other: ir.Value) -> ir.Value:
    size = rank(x)
    if size != rank(other):
        raise ModelError("torch.kron of tensors of different ranks; unsqueeze one of them")
    outer_axes, inner_axes = np.arange(1, 2 * size, 2), np.arange(0, 2 * size, 2)
    left = t.op("Unsqueeze", x, t.constant(outer_axes))
    return t.reshape(t.op("Mul", left, t.op("Unsqueeze", other, t.constant(inner_axes))))


@translates("torch.functional.tensordot", "torch.tensordot")
def tensordot(t: Translator, a: ir.Value, b: ir.Value, dims: Any = 2, out: Any = None) -> ir.Value:
    if isinstance(dims, int):
        dims = (range(rank(a) - dims, rank(a)), range(dims))
    left, right = (t.axes(value, list(axes)) for value, axes in zip((a, b), dims, strict=True))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names_a = [next(letters) for _ in range(rank(a))]
    joined = {place: names_a[other] for place, other in zip(right, left, strict=True)}
    names_b = [joined[place] if place in joined else next(letters) for place in range(rank(b))]
    kept = [name for name in names_a + names_b if name not in joined.values()]
    return einsum(t, f"{''.join(names_a)},{''.join(names_b)}->{''.join(kept)}", a, b)


@translates("torch.outer", "Tensor.outer", "torch.ger")
def outer(t: Translator, x: ir.Value, vec2: ir.Value) -> ir.Value:
    column = t.op("Unsqueeze", x, t.constant(np.array([1])))
    return t.op("Mul", column, t.op("Unsqueeze", vec2, t.constant(np.array([0]))))


@translates("torch.einsum", "torch.functional.einsum")
def einsum(t: Translator, equation: str, *operands: Any) -> ir.Value:
    """A MatMul where the equation is one: runtimes quantize that."""
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    equation = equation.replace(" ", "")
    as_product = _as_product(equation) if len(tensors) == 2 else None
    if as_product is None:
        return t.op("Einsum", *tensors, equation=equation)
    left, right = (
        x if order == sorted(order) else t.op("Transpose", x, perm=order)
        for x, order in zip(tensors, as_product[:2], strict=True)
    )
    product, order = t.op("MatMul", left, right), as_product[2]
    return product if order == sorted(order) else t.op("Transpose", product, perm=order)


def _as_product(equation: str) -> tuple[list[int], list[int], list[int]] | None:
    """Orders of the axes of both operands and of the result; one axis is summed, one of each is kept."""
    inputs, arrow, result = equation.partition("->")
    left, _, right = inputs.partition(",")
    if not arrow or "." in equation or any(len(set(part)) != len(part) for part in (left, right, result)):
        return None
    batch = [name for name in left if name in right and name in result]
    summed = [name for name in left if name in right and name not in result]
    rows, columns = (
        [name for name in part if name not in other] for part, other in ((left, right), (right, left))
    )
    if (len(summed), len(rows), len(columns)) != (1, 1, 1) or set(result) != {*batch, *rows, *columns}:
        return None
    found = [*batch, *rows, *columns]
    return (
        [left.index(name) for name in [*batch, *rows, *summed]],
        [right.index(name) for name in [*batch, *summed, *columns]],
        [found.index(name) for name in result],
    )


@translates("torch.cross", "Tensor.cross")
def cross(t: Translator, x: ir.Value, other: ir.Value, dim: int | None = None) -> ir.Value:
    """Without `dim`, along the first axis of size 3."""
    axis = list(t.inputs[0][0].shape).index(3) if dim is None else dim
    return linalg_cross(t, x, other, dim=axis)


@translates("torch.linalg.cross")
def linalg_cross(t: Translator, x: ir.Value, other: ir.Value, *, dim: int = -1) -> ir.Value:
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
