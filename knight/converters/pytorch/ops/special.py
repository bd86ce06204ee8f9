"""Elementwise functions that ONNX has no operator for: their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator
from knight.converters.pytorch.ops import everywhere, translates


@translates("torch.special.erf")
def erf(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Erf", t.value(x, t.dtype))


@translates("torch.special.expit")
def expit(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Sigmoid", t.value(x, t.dtype))


@translates(*everywhere("erfc"), "torch.special.erfc")
def erfc(t: Translator, x: ir.Value) -> ir.Value:
    """1 - erf(x): exact to the last digits of 1, not of small results."""
    return t.op("Sub", t.value(1, t.dtype), t.op("Erf", t.value(x, t.dtype)))


@translates(*everywhere("hypot"))
def hypot(t: Translator, x: ir.Value, other: ir.Value) -> ir.Value:
    return t.op("Sqrt", t.op("Add", t.op("Mul", x, x), t.op("Mul", other, other)))


@translates("operator.lshift", "torch.bitwise_left_shift", "Tensor.bitwise_left_shift")
def left_shift(t: Translator, x: Any, other: Any) -> ir.Value:
    return t.op("Mul", t.value(x, t.dtype), _power_of_two(t, other))


@translates("operator.rshift", "torch.bitwise_right_shift", "Tensor.bitwise_right_shift")
def right_shift(t: Translator, x: Any, other: Any) -> ir.Value:
    """A division that rounds down, also of negative numbers."""
    value, divisor = t.value(x, t.dtype), _power_of_two(t, other)
    return t.op("Div", t.op("Sub", value, t.op("Mod", value, divisor)), divisor)


def _power_of_two(t: Translator, exponent: Any) -> ir.Value:
    if isinstance(exponent, ir.Value):
        return t.value(t.op("Pow", t.value(2.0, np.float64), t.value(exponent, np.float64)), t.dtype)
    return t.value(2 ** int(exponent), t.dtype)


@translates(*everywhere("nan_to_num"))
def nan_to_num(
    t: Translator,
    x: ir.Value,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> ir.Value:
    if t.dtype.kind != "f":
        return x
    limits = np.finfo(t.dtype)
    x = t.op("Where", t.op("IsNaN", x), t.like(0.0 if nan is None else nan, x), x)
    for bound, given, which in (
        (limits.max, posinf, "detect_positive"),
        (limits.min, neginf, "detect_negative"),
    ):
        other = {"detect_positive": 0} if which == "detect_negative" else {"detect_negative": 0}
        x = t.op("Where", t.op("IsInf", x, **other), t.like(bound if given is None else given, x), x)
    return x


@translates("torch.isfinite", "Tensor.isfinite")
def isfinite(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Not", t.op("Or", t.op("IsNaN", x), t.op("IsInf", x)))


@translates(*everywhere("logit"), "torch.special.logit")
def logit(t: Translator, x: ir.Value, eps: float | None = None) -> ir.Value:
    """log(x / (1 - x)), of `x` that is kept `eps` away from 0 and 1."""
    if eps is not None:
        x = t.op("Clip", x, t.like(eps, x), t.like(1 - eps, x))
    return t.op("Log", t.op("Div", x, t.op("Sub", t.like(1.0, x), x)))


@translates(*everywhere("xlogy"), "torch.special.xlogy")
def xlogy(t: Translator, x: Any, other: Any) -> ir.Value:
    """x * log(other), and 0 where `x` is."""
    factor = t.value(x, t.dtype)
    product = t.op("Mul", factor, t.op("Log", t.value(other, t.dtype)))
    zero = t.value(0, t.dtype)
    return t.op("Where", t.op("Equal", factor, zero), zero, product)


@translates(*everywhere("sinc"), "torch.special.sinc")
def sinc(t: Translator, x: ir.Value) -> ir.Value:
    """sin(pi x) / (pi x), and 1 at 0."""
    angle, one = t.op("Mul", x, t.like(np.pi, x)), t.like(1.0, x)
    at_zero = t.op("Equal", x, t.like(0.0, x))
    safe = t.op("Where", at_zero, one, angle)
    return t.op("Where", at_zero, one, t.op("Div", t.op("Sin", safe), safe))


@translates(*everywhere("heaviside"))
def heaviside(t: Translator, x: ir.Value, values: ir.Value) -> ir.Value:
    """0 below zero, 1 above, `values` at zero."""
    zero = t.like(0, x)
    step = t.value(t.op("Greater", x, zero), t.dtype)
    return t.op("Where", t.op("Equal", x, zero), t.like(values, x), step)


@translates("torch.logaddexp", "Tensor.logaddexp")
def logaddexp(t: Translator, x: ir.Value, other: ir.Value) -> ir.Value:
    """max + log(1 + exp(-|x - other|)), which no large number overflows."""
    distance = t.op("Neg", t.op("Abs", t.op("Sub", x, other)))
    return t.op("Add", t.op("Max", x, other), t.op("Softplus", distance))


@translates(*everywhere("deg2rad"))
def deg2rad(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Mul", t.value(x, t.dtype), t.value(np.pi / 180, t.dtype))


@translates(*everywhere("rad2deg"))
def rad2deg(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Mul", t.value(x, t.dtype), t.value(180 / np.pi, t.dtype))
