"""Recognises the other normalizations in the operators that exporters write for them.

LpNormalization ``x / ||x||`` along one axis; InstanceNormalization (Ulyanov et al., 2016), the normalization
of every channel of every picture; RMSNormalization ``gamma * x / sqrt(mean(x^2) + epsilon)`` (Zhang and
Sennrich, 2019).
A norm that is kept above some epsilon is no LpNormalization and stays as it is. (A vector of zeros, which the
division makes NaN, is the one place where LpNormalization answers otherwise: zeros.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._pattern import Match, OneOf, Op, Pattern, Rewrite, Weight, rewrite_all
from knight.passes._queries import rank, static_shape
from knight.passes._standardization import (
    STANDARDIZED,
    common_axes,
    kept_axes,
    lengths,
    operand,
    parameter,
    scaled_quotient,
    square,
)

RMS_SINCE = 23

_NORMALIZED = Op("InstanceNormalization", "x", Weight("gamma"), Weight("beta"))
_RESHAPED = Op(
    "Reshape",
    Op("InstanceNormalization", Op("Reshape", "x", Weight("inner")), Weight("gamma"), Weight("beta")),
    Weight("outer"),
)
_L2 = OneOf(
    Op("ReduceL2", "x", ...),
    Op("Sqrt", OneOf(Op("ReduceSumSquare", "x", ...), Op("ReduceSum", square("x"), ...))),
)
_L1 = OneOf(Op("ReduceL1", "x", ...), Op("ReduceSum", Op("Abs", "x"), ...))
_RMS = scaled_quotient("x", Op("ReduceMean", square("x"), ...))


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of expressions replaced; only what the target asks for is looked for."""
    rules: list[tuple[Pattern, Rewrite]] = []
    if "LpNormalization" in options.recognise:
        rules += [(Op("Div", "x", _L2), _l2), (Op("Div", "x", _L1), _l1)]
    if "InstanceNormalization" in options.recognise:
        rules += [
            (STANDARDIZED, _instance_norm),
            (_RESHAPED, _without_reshapes),
            (Op("Mul", _NORMALIZED, Weight("factor")), _scaled),
            (Op("Add", _NORMALIZED, Weight("term")), _shifted),
        ]
    if "RMSNormalization" in options.recognise and models.opset(model) >= RMS_SINCE:
        rules.append((_RMS, _rms))
    total = 0
    while changes := rewrite_all(model, rules):  # one form may appear when another is replaced
        total += changes
    return total


def _l2(match: Match) -> ir.Value | None:
    return _lp(match, 2)


def _l1(match: Match) -> ir.Value | None:
    return _lp(match, 1)


def _lp(match: Match, power: int) -> ir.Value | None:
    count = rank(match["x"])
    (node,) = [node for node in match.nodes if node.op_type.startswith("Reduce")]
    axes = kept_axes(node, count) if count else None
    if axes is None or len(axes) != 1:
        return None
    return match.insert("LpNormalization", [match["x"]], {"axis": axes[0], "p": power})


def _instance_norm(match: Match) -> ir.Value | None:
    """Over all axes but N and C.

    With three axes and no parameter per channel it may as well be a layer's normalization over its last
    axis, and is left to that pass unless a Reshape has made the third axis.
    """
    x, axes = match["x"], common_axes(match)
    count = rank(x)
    if axes is None or count is None or axes != tuple(range(2, count)):
        return None
    shape = lengths(match, (1,))
    if shape is None:
        return None
    gamma, beta = (
        parameter(match, name, shape, (1,), fill) for name, fill in (("gamma", 1.0), ("beta", 0.0))
    )
    plain = "gamma" not in match.values and "beta" not in match.values
    if gamma is None or beta is None or (plain and count == 3 and not is_op(x.producer(), "Reshape")):
        return None
    inputs = [x, operand(match, "gamma", gamma), operand(match, "beta", beta)]
    return match.insert("InstanceNormalization", inputs, {"epsilon": match.number("epsilon")})


def _without_reshapes(match: Match) -> ir.Value | None:
    """Reshapes that only flatten the picture, and back, make no difference to the statistics of a channel."""
    (inner,) = match.of_type("InstanceNormalization")
    before, between, after = (
        static_shape(value) for value in (match["x"], inner.inputs[0], match.nodes[0].outputs[0])
    )
    if before is None or between is None or before != after or len(before) < 3 or before[:2] != between[:2]:
        return None
    return match.insert("InstanceNormalization", [match["x"], match["gamma"], match["beta"]], _epsilon(inner))


def _scaled(match: Match) -> ir.Value | None:
    """``(gamma * n + beta) * factor``."""
    return _with_parameters(match, "factor", lambda gamma, beta, factor: (gamma * factor, beta * factor))


def _shifted(match: Match) -> ir.Value | None:
    """``gamma * n + beta + term``."""
    return _with_parameters(match, "term", lambda gamma, beta, term: (gamma, beta + term))


def _with_parameters(
    match: Match,
    name: str,
    combine: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> ir.Value | None:
    """The normalization with one more constant per channel worked into its gamma and beta."""
    (inner,) = match.of_type("InstanceNormalization")
    gamma, beta = match.array("gamma"), match.array("beta")
    if gamma is None or beta is None:
        return None
    more = parameter(match, name, gamma.shape, (1,), 0.0)
    if more is None:
        return None
    new_gamma, new_beta = (np.asarray(array, gamma.dtype) for array in combine(gamma, beta, more))
    inputs = [match["x"], match.constant("gamma", new_gamma), match.constant("beta", new_beta)]
    return match.insert("InstanceNormalization", inputs, _epsilon(inner))


def _epsilon(node: ir.Node) -> dict[str, float]:
    return {"epsilon": node.attributes.get_float("epsilon", 1e-5)}


def _rms(match: Match) -> ir.Value | None:
    """Over the last axes, with gamma over the same ones."""
    axes, count = common_axes(match), rank(match["x"])
    if axes is None or count is None or axes != tuple(range(count - len(axes), count)):
        return None
    shape = lengths(match, axes)
    gamma = None if shape is None else parameter(match, "gamma", shape, axes, 1.0)
    if gamma is None:
        return None
    attributes = {"axis": -len(axes), "epsilon": match.number("epsilon")}
    return match.insert("RMSNormalization", [match["x"], operand(match, "gamma", gamma)], attributes)
