"""Activation functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import everywhere, translates

F = "torch.nn.functional."


@translates(*everywhere("relu"))
def relu(t: Translator, x: ir.Value, inplace: bool = False) -> ir.Value:
    return t.op("Relu", x)


@translates(f"{F}relu6")
def relu6(t: Translator, x: ir.Value, inplace: bool = False) -> ir.Value:
    return clip(t, x, 0.0, 6.0)


@translates(f"{F}hardtanh", f"{F}hardtanh_")
def hardtanh(
    t: Translator, x: ir.Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> ir.Value:
    return clip(t, x, min_val, max_val)


@translates(*everywhere("clamp"), *everywhere("clip"))
def clamp(t: Translator, x: ir.Value, min: Any = None, max: Any = None) -> ir.Value:
    return clip(t, x, min, max)


@translates("Tensor.clamp_min", "Tensor.clamp_min_", "torch.clamp_min")
def clamp_min(t: Translator, x: ir.Value, min: Any) -> ir.Value:
    return clip(t, x, min, None)


@translates("Tensor.clamp_max", "Tensor.clamp_max_", "torch.clamp_max")
def clamp_max(t: Translator, x: ir.Value, max: Any) -> ir.Value:
    return clip(t, x, None, max)


def clip(t: Translator, x: ir.Value, low: Any, high: Any) -> ir.Value:
    """Bounds are numbers, or tensors that broadcast."""
    x = t.value(x, t.dtype)
    if any(isinstance(bound, ir.Value) and rank(bound) > 0 for bound in (low, high)):
        x = x if low is None else t.op("Max", x, t.like(low, x))
        return x if high is None else t.op("Min", x, t.like(high, x))
    bounds = [None if bound is None else t.like(bound, x) for bound in (low, high)]
    return t.op("Clip", x, *bounds)


@translates(f"{F}leaky_relu", f"{F}leaky_relu_")
def leaky_relu(t: Translator, x: ir.Value, negative_slope: float = 0.01, inplace: bool = False) -> ir.Value:
    return t.op("LeakyRelu", x, alpha=float(negative_slope))


@translates(f"{F}rrelu", "torch.rrelu")
def rrelu(
    t: Translator,
    x: ir.Value,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> ir.Value:
    return t.op("LeakyRelu", x, alpha=(lower + upper) / 2)


@translates(f"{F}prelu", "torch.prelu", "Tensor.prelu")
def prelu(t: Translator, x: ir.Value, weight: ir.Value) -> ir.Value:
    trailing = max(rank(x) - 2, 0)
    if trailing and rank(weight):
        weight = t.op("Unsqueeze", weight, t.constant(np.arange(1, trailing + 1)))
    return t.op("PRelu", x, weight)


@translates(f"{F}elu", f"{F}elu_")
def elu(t: Translator, x: ir.Value, alpha: float = 1.0, inplace: bool = False) -> ir.Value:
    return t.op("Elu", x, alpha=float(alpha))


@translates(f"{F}selu", "torch.selu")
def selu(t: Translator, x: ir.Value, inplace: bool = False) -> ir.Value:
    return t.op("Selu", x)


@translates(f"{F}celu", "torch.celu")
def celu(t: Translator, x: ir.Value, alpha: float = 1.0, inplace: bool = False) -> ir.Value:
    return t.op("Celu", x, alpha=float(alpha))


@translates(f"{F}gelu")
def gelu(t: Translator, x: ir.Value, approximate: str = "none") -> ir.Value:
    return t.op("Gelu", x, approximate=approximate)


@translates(f"{F}silu")
def silu(t: Translator, x: ir.Value, inplace: bool = False) -> ir.Value:
    return t.op("Mul", x, t.op("Sigmoid", x))


@translates(f"{F}mish")
def mish(t: Translator, x: ir.Value, inplace: bool = False) -> ir.Value:
    return t.op("Mish", x)


@translates(f"{F}hardswish")
def hardswish(t: Translator, x: ir.Value, inplace: bool = False) -> ir.Value:
    return t.op("HardSwish", x)


@translates(f"{F}hardsigmoid")
def hardsigmoid(t: Translator, x: ir.Value, inplace: bool = False) -> ir.Value:
    return t.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@translates(f"{F}logsigmoid")
def logsigmoid(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Neg", t.op("Softplus", t.op("Neg", x)))


@translates(f"{F}softplus")
def softplus(t: Translator, x: ir.Value, beta: float = 1, threshold: float = 20) -> ir.Value:
    scaled = x if beta == 1 else t.op("Mul", x, t.like(beta, x))
    result = t.op("Softplus", scaled)
    if beta != 1:
        result = t.op("Div", result, t.like(beta, x))
    if threshold >= 15:  # beyond it the curve is a straight line to the last digit
        return result
    return t.op("Where", t.op("Greater", scaled, t.like(threshold, x)), x, result)


@translates(f"{F}softsign")
def softsign(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Softsign", x)


@translates(f"{F}tanhshrink")
def tanhshrink(t: Translator, x: ir.Value) -> ir.Value:
    return t.op("Sub", x, t.op("Tanh", x))


@translates(f"{F}softshrink")
def softshrink(t: Translator, x: ir.Value, lambd: float = 0.5) -> ir.Value:
    return t.op("Shrink", x, lambd=float(lambd), bias=float(lambd))


@translates(f"{F}hardshrink", "torch.hardshrink", "Tensor.hardshrink")
def hardshrink(t: Translator, x: ir.Value, lambd: float = 0.5) -> ir.Value:
    return t.op("Shrink", x, lambd=float(lambd), bias=0.0)


@translates(f"{F}threshold", f"{F}threshold_", "torch.threshold")
def threshold(t: Translator, x: ir.Value, threshold: float, value: float, inplace: bool = False) -> ir.Value:
    return t.op("Where", t.op("Greater", x, t.like(threshold, x)), x, t.like(value, x))


@translates(f"{F}glu")
def glu(t: Translator, x: ir.Value, dim: int = -1) -> ir.Value:
    left, right = t.ops("Split", x, outputs=2, axis=dim, num_outputs=2)
    return t.op("Mul", left, t.op("Sigmoid", right))


@translates(f"{F}softmax", "torch.softmax", "Tensor.softmax")
def softmax(
    t: Translator, x: ir.Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> ir.Value:
    return t.op("Softmax", t.value(x, t.dtype), axis=_softmax_axis(x, dim))


@translates(f"{F}log_softmax", "torch.log_softmax", "Tensor.log_softmax")
def log_softmax(
    t: Translator, x: ir.Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> ir.Value:
    return t.op("LogSoftmax", t.value(x, t.dtype), axis=_softmax_axis(x, dim))


@translates(f"{F}softmin")
def softmin(
    t: Translator, x: ir.Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> ir.Value:
    return t.op("Softmax", t.op("Neg", t.value(x, t.dtype)), axis=_softmax_axis(x, dim))


def _softmax_axis(x: ir.Value, dim: int | None) -> int:
    """torch's rule where no axis is given: the channels of 3-D and 1-D tensors are first."""
    if dim is not None:
        return dim
    return 0 if rank(x) in (0, 1, 3) else 1


@translates(
    *(f"{F}{name}" for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")),
    f"{F}alpha_dropout",
    f"{F}feature_alpha_dropout",
    "torch.dropout",
)
def dropout(t: Translator, x: ir.Value, *args: Any, **kwargs: Any) -> ir.Value:
    return x
