"""Elementwise arithmetic, comparisons and logic, with torch's promotion of types."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import shape_of
from knight.converters.pytorch._translator import Translator, promoted
from knight.converters.pytorch.ops import everywhere, translates
from knight.errors import ModelError

UNARY = {
    "abs": "Abs",
    "absolute": "Abs",
    "neg": "Neg",
    "negative": "Neg",
    "floor": "Floor",
    "ceil": "Ceil",
    "sign": "Sign",
    "sgn": "Sign",
    "sqrt": "Sqrt",
    "exp": "Exp",
    "log": "Log",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "erf": "Erf",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "reciprocal": "Reciprocal",
}
"""Functions of one tensor that are one operator; all of them give floats for integers but the first eight."""

BINARY = {"mul": "Mul", "multiply": "Mul", "maximum": "Max", "minimum": "Min", "fmax": "Max", "fmin": "Min"}
COMPARISONS = {
    "eq": "Equal",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "lt": "Less",
    "le": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}
LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
BITS = {"and": ("And", "BitwiseAnd"), "or": ("Or", "BitwiseOr"), "xor": ("Xor", "BitwiseXor")}


def _unary(op_type: str) -> Any:
    def handler(t: Translator, x: ir.Value, *, out: Any = None) -> ir.Value:
        return t.op(op_type, t.value(x, t.dtype))

    return handler


def _binary(op_type: str) -> Any:
    def handler(t: Translator, x: Any, other: Any, *, out: Any = None) -> ir.Value:
        return t.op(op_type, t.value(x, t.dtype), t.value(other, t.dtype))

    return handler


def _comparison(op_type: str) -> Any:
    def handler(t: Translator, x: Any, other: Any, *, out: Any = None) -> ir.Value:
        dtype = promoted(x, other)
        if dtype.kind == "b" and op_type != "Equal":
            dtype = np.dtype(np.int64)
        return t.op(op_type, t.value(x, dtype), t.value(other, dtype))

    return handler


def _logic(op_type: str) -> Any:
    def handler(t: Translator, x: Any, other: Any) -> ir.Value:
        return t.op(op_type, t.value(x, np.bool_), t.value(other, np.bool_))

    return handler


def _bits(logic: str, bitwise: str) -> Any:
    def handler(t: Translator, x: Any, other: Any) -> ir.Value:
        op_type = logic if t.dtype.kind == "b" else bitwise
        return t.op(op_type, t.value(x, t.dtype), t.value(other, t.dtype))

    return handler


for _name, _op in UNARY.items():
    translates(*everywhere(_name), *(("operator.neg",) if _name == "neg" else ()))(_unary(_op))
for _name, _op in BINARY.items():
    _forms = ("operator.mul", "operator.imul") if _name == "mul" else ()
    translates(f"torch.{_name}", f"Tensor.{_name}", f"Tensor.{_name}_", *_forms)(_binary(_op))
for _name, _op in COMPARISONS.items():
    _more = (f"operator.{_name}",) if len(_name) == 2 else ()
    translates(f"torch.{_name}", f"Tensor.{_name}", *_more)(_comparison(_op))
for _name, _op in LOGIC.items():
    translates(f"torch.{_name}", f"Tensor.{_name}")(_logic(_op))
for _name, _ops in BITS.items():
    translates(
        f"torch.bitwise_{_name}",
        f"Tensor.bitwise_{_name}",
        f"operator.{_name}{'_' if _name != 'xor' else ''}",
        f"Tensor.__{_name}__",
    )(_bits(*_ops))


@translates("operator.abs")
def builtin_abs(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Abs", x)


@translates("operator.pos")
def positive(t: Translator, x: ir.Value) -> ir.Value:
    return x


@translates(*everywhere("rsqrt"))
def rsqrt(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Reciprocal", t.op("Sqrt", t.value(x, t.dtype)))


@translates(*everywhere("square"))
def square(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Mul", x, x)


@translates(*everywhere("round"))
def round_(t: Translator, x: ir.Value, *, decimals: int = 0) -> ir.Value:
    if not decimals:
        return t.op("Round", x)
    factor = t.like(10.0**decimals, x)
    return t.op("Div", t.op("Round", t.op("Mul", x, factor)), factor)


@translates(*everywhere("trunc"), *everywhere("fix"))
def trunc(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Mul", t.op("Sign", x), t.op("Floor", t.op("Abs", x)))


@translates(*everywhere("frac"))
def frac(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Sub", x, trunc(t, x))


@translates(*everywhere("log2"))
def log2(t: Translator, x: ir.Value) -> ir.Value:
    return _scaled_log(t, x, 1 / np.log(2.0))


@translates(*everywhere("log10"))
def log10(t: Translator, x: ir.Value) -> ir.Value:
    return _scaled_log(t, x, 1 / np.log(10.0))


@translates(*everywhere("log1p"))
def log1p(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Log", t.op("Add", x, t.like(1.0, x)))


@translates(*everywhere("expm1"))
def expm1(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Sub", t.op("Exp", x), t.like(1.0, x))


@translates(*everywhere("exp2"))
def exp2(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Pow", t.like(2.0, x), x)


def _scaled_log(t: Translator, x: ir.Value, factor: float) -> ir.Value:
    logarithm = t.op("Log", t.value(x, t.dtype))
    return t.op("Mul", logarithm, t.like(factor, logarithm))


@translates("torch.add", "Tensor.add", "Tensor.add_", "operator.add", "operator.iadd")
def add(t: Translator, x: Any, other: Any, *, alpha: float = 1, out: Any = None) -> ir.Value:
    return t.op(_sum(t), t.value(x, t.dtype), _times(t, other, alpha))


@translates("torch.sub", "torch.subtract", "Tensor.sub", "Tensor.sub_", "operator.sub", "operator.isub")
def sub(t: Translator, x: Any, other: Any, *, alpha: float = 1, out: Any = None) -> ir.Value:
    return t.op("Sub", t.value(x, t.dtype), _times(t, other, alpha))


@translates("torch.rsub", "Tensor.rsub", "Tensor.__rsub__")
def rsub(t: Translator, x: Any, other: Any, *, alpha: float = 1) -> ir.Value:
    return t.op("Sub", t.value(other, t.dtype), _times(t, x, alpha))


def _sum(t: Translator) -> str:
    return "Or" if t.dtype.kind == "b" else "Add"


def _times(t: Translator, x: Any, alpha: float) -> ir.Value:
    value = t.value(x, t.dtype)
    return value if alpha == 1 else t.op("Mul", value, t.like(alpha, value))


@translates(
    *("torch.div", "torch.divide", "torch.true_divide", "Tensor.div", "Tensor.div_", "Tensor.divide"),
    *("Tensor.true_divide", "operator.truediv", "operator.itruediv"),
)
def div(t: Translator, x: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> ir.Value:
    if rounding_mode == "floor":
        return floor_divide(t, x, other)
    if rounding_mode == "trunc" and t.dtype.kind == "f":
        return trunc(t, t.op("Div", t.value(x, t.dtype), t.value(other, t.dtype)))
    return t.op("Div", t.value(x, t.dtype), t.value(other, t.dtype))  # of integers, ONNX truncates


@translates("torch.floor_divide", "Tensor.floor_divide", "Tensor.floor_divide_", "operator.floordiv")
def floor_divide(t: Translator, x: Any, other: Any) -> ir.Value:
    left, right = t.value(x, t.dtype), t.value(other, t.dtype)
    if t.dtype.kind == "f":
        return t.op("Floor", t.op("Div", left, right))
    return t.op("Div", t.op("Sub", left, t.op("Mod", left, right)), right)


@translates("torch.remainder", "Tensor.remainder", "Tensor.remainder_", "operator.mod")
def remainder(t: Translator, x: Any, other: Any) -> ir.Value:
    left, right = t.value(x, t.dtype), t.value(other, t.dtype)
    if t.dtype.kind != "f":
        return t.op("Mod", left, right)
    return t.op("Sub", left, t.op("Mul", t.op("Floor", t.op("Div", left, right)), right))


@translates("torch.fmod", "Tensor.fmod", "Tensor.fmod_")
def fmod(t: Translator, x: Any, other: Any) -> ir.Value:
    return t.op("Mod", t.value(x, t.dtype), t.value(other, t.dtype), fmod=1)


@translates("torch.pow", "Tensor.pow", "Tensor.pow_", "operator.pow", "operator.ipow", "torch.float_power")
def pow_(t: Translator, x: Any, exponent: Any) -> ir.Value:
    base = t.value(x, t.dtype)
    if exponent == 2 and not isinstance(exponent, ir.Value):
        return t.op("Mul", base, base)
    if exponent == 0.5 and not isinstance(exponent, ir.Value):
        return t.op("Sqrt", base)
    return t.op("Pow", base, t.value(exponent, t.dtype))


@translates("torch.ne", "Tensor.ne", "operator.ne", "torch.not_equal", "Tensor.not_equal")
def not_equal(t: Translator, x: Any, other: Any) -> ir.Value:
    dtype = promoted(x, other)
    return t.op("Not", t.op("Equal", t.value(x, dtype), t.value(other, dtype)))


@translates("torch.logical_not", "Tensor.logical_not")
def logical_not(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Not", t.value(x, np.bool_))


@translates("torch.bitwise_not", "Tensor.bitwise_not", "operator.invert")
def invert(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Not" if t.dtype.kind == "b" else "BitwiseNot", x)


@translates("torch.isnan", "Tensor.isnan")
def isnan(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("IsNaN", x)


@translates("torch.isinf", "Tensor.isinf")
def isinf(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("IsInf", x)


@translates("torch.where", "Tensor.where")
def where(t: Translator, condition: ir.Value, x: Any = None, other: Any = None) -> ir.Value:
    if x is None:
        raise ModelError("torch.where with a condition alone gives a result whose shape depends on the data")
    if isinstance(x, ir.Value) and x.dtype == ir.DataType.BOOL and condition.dtype != ir.DataType.BOOL:
        condition, x = x, condition  # the method: x.where(condition, other)
    return t.op("Where", condition, t.value(x, t.dtype), t.value(other, t.dtype))


@translates("torch.masked_fill", "Tensor.masked_fill", "Tensor.masked_fill_")
def masked_fill(t: Translator, x: ir.Value, mask: ir.Value, value: Any) -> ir.Value:
    return t.op("Where", t.value(mask, np.bool_), t.value(value, t.dtype), x)


@translates("Tensor.fill_", "torch.fill_")
def fill(t: Translator, x: ir.Value, value: Any) -> ir.Value:
    return t.op("Expand", t.value(value, t.dtype), t.op("Shape", x))


@translates("Tensor.zero_", "torch.zero_")
def zero(t: Translator, x: ir.Value) -> ir.Value:
    return fill(t, x, 0)


@translates("Tensor.copy_")
def copy(t: Translator, x: ir.Value, src: Any, non_blocking: bool = False) -> ir.Value:
    value = t.value(src, t.dtype)
    return value if _same_shape(value, x) else t.op("Expand", value, t.op("Shape", x))


def _same_shape(left: ir.Value, right: ir.Value) -> bool:
    shape = shape_of(left)
    return shape is not None and None not in shape and shape == shape_of(right)


@translates("torch.addcmul", "Tensor.addcmul", "Tensor.addcmul_")
def addcmul(t: Translator, x: ir.Value, left: ir.Value, right: ir.Value, *, value: float = 1) -> ir.Value:
    return t.op("Add", x, _times(t, t.op("Mul", left, right), value))


@translates("torch.addcdiv", "Tensor.addcdiv", "Tensor.addcdiv_")
def addcdiv(t: Translator, x: ir.Value, left: ir.Value, right: ir.Value, *, value: float = 1) -> ir.Value:
    return t.op("Add", x, _times(t, t.op("Div", left, right), value))


@translates("torch.lerp", "Tensor.lerp", "Tensor.lerp_")
def lerp(t: Translator, x: ir.Value, end: ir.Value, weight: Any) -> ir.Value:
    return t.op("Add", x, t.op("Mul", t.value(weight, t.dtype), t.op("Sub", end, x)))


@translates("torch.atan2", "Tensor.atan2", "torch.arctan2")
def atan2(t: Translator, y: ir.Value, x: ir.Value) -> ir.Value:
    """The angle of (x, y): of a quotient, moved by half a turn where x is negative."""
    angle = t.op("Atan", t.op("Div", y, x))
    turn = t.op("Where", t.op("Less", y, t.like(0, y)), t.like(-np.pi, y), t.like(np.pi, y))
    return t.op("Where", t.op("Less", x, t.like(0, x)), t.op("Add", angle, turn), angle)
