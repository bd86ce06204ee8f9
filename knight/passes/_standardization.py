"""The ways in which exporters write ``gamma * (x - mean(x)) / sqrt(var(x) + epsilon) + beta``.

LayerNormalization and InstanceNormalization are the same expression over different axes (Ba et al., 2016;
Ulyanov et al., 2016).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight.passes._pattern import Match, OneOf, Op, Pattern, Scalar, Weight
from knight.passes._queries import rank, reduced_axes, static_shape

EPSILON = Scalar("epsilon")
GAMMA = Weight("gamma")
BETA = Weight("beta")


def square(value: Pattern) -> OneOf:
    """``value ** 2``."""
    return OneOf(Op("Mul", value, value), Op("Pow", value, 2.0))


def root(value: Pattern) -> Op:
    """``sqrt(value + epsilon)``."""
    return Op("Sqrt", Op("Add", value, EPSILON))


def inverse_root(value: Pattern) -> OneOf:
    """``1 / sqrt(value + epsilon)``."""
    return OneOf(
        Op("Reciprocal", root(value)),
        Op("Div", 1.0, root(value)),
        Op("Pow", Op("Add", value, EPSILON), -0.5),
    )


def scaled_quotient(numerator: Pattern, value: Pattern) -> OneOf:
    """``gamma * numerator / sqrt(value + epsilon)``, gamma being optional."""
    divided = OneOf(Op("Div", numerator, root(value)), Op("Mul", numerator, inverse_root(value)))
    return OneOf(
        Op("Mul", divided, GAMMA),
        Op("Mul", numerator, Op("Mul", inverse_root(value), GAMMA)),
        Op("Div", Op("Mul", numerator, GAMMA), root(value)),
        Op("Mul", Op("Mul", numerator, GAMMA), inverse_root(value)),
        divided,
    )


_MEAN = Op("ReduceMean", "x", ...)
_CENTERED = Op("Sub", "x", _MEAN)
_VARIANCE = Op("ReduceMean", square(_CENTERED), ...)
_FACTOR = OneOf(Op("Mul", inverse_root(_VARIANCE), GAMMA), inverse_root(_VARIANCE))
_SCALED = scaled_quotient(_CENTERED, _VARIANCE)

STANDARDIZED = OneOf(
    Op("Add", _SCALED, BETA),
    Op("Add", Op("Mul", "x", _FACTOR), Op("Sub", BETA, Op("Mul", _MEAN, _FACTOR))),  # as TensorFlow writes it
    _SCALED,
)
"""Captures x, epsilon, and where they are there gamma and beta."""


def common_axes(match: Match) -> tuple[int, ...] | None:
    """The axes over which all means of the match are taken; None where they differ or are not known."""
    count = rank(match["x"])
    if count is None:
        return None
    axes = {kept_axes(node, count) for node in match.of_type("ReduceMean")}
    return axes.pop() if len(axes) == 1 else None


def kept_axes(node: ir.Node, axis_count: int) -> tuple[int, ...] | None:
    """The axes of a reduction that leaves them in its result, with one element each; None of another."""
    return reduced_axes(node, axis_count) if node.attributes.get_int("keepdims", 1) else None


def parameter(
    match: Match, name: str, shape: tuple[int, ...], over: tuple[int, ...], fill: float
) -> np.ndarray | None:
    """Gamma or beta as an array of the axes `over` of x (lengths `shape`); full of `fill` if not there.

    None if it varies along other axes as well, or its broadcasting would widen x.
    """
    array, x = match.array(name), match["x"]
    count = rank(x)
    if count is None or x.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return None  # double would lose digits: the fused operators compute in float32
    if array is None:
        return np.full(shape, fill, x.dtype.numpy())
    if array.ndim > count:
        return None
    lengths = (1,) * (count - array.ndim) + array.shape
    if any(length != 1 for axis, length in enumerate(lengths) if axis not in over):
        return None
    ours = tuple(lengths[axis] for axis in over)
    if any(length not in (1, wanted) for length, wanted in zip(ours, shape, strict=True)):
        return None
    return np.broadcast_to(array.reshape(ours), shape)


def lengths(match: Match, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Lengths of these axes of x, if they are fixed."""
    shape = match["x"].shape
    assert shape is not None
    found = [shape[axis] for axis in axes]
    return (
        tuple(length for length in found if isinstance(length, int))
        if all(isinstance(length, int) for length in found)
        else None
    )


def operand(match: Match, name: str, array: np.ndarray) -> ir.Value:
    """The constant of the model if it has this shape already, else a new one."""
    value = match.values.get(name)
    if value is not None and static_shape(value) == array.shape:
        return value
    return match.constant(name, np.ascontiguousarray(array))
