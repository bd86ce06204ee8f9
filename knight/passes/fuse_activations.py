"""Gives activation functions their canonical form.

Relu, Clip, Max and Min with constants are all ``min(max(x, low), high)``: chains of them become one Relu or
Clip. LeakyRelu is ``max(x, alpha x)``, Sigmoid ``1 / (1 + exp(-x))``. Where the target has them: HardSigmoid
``clip(x + 3, 0, 6) / 6`` and HardSwish, x times that (Howard et al., 2019); Mish, ``x tanh(ln(1 + e^x))``
(Misra, 2019); Silu, ``x / (1 + exp(-x))``, is written as x times its Sigmoid, for want of an operator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, hand_over, remove_with_constants
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._pattern import Match, OneOf, Op, Pattern, Rewrite, Scalar, rewrite_all
from knight.passes._queries import constant_scalar, live_nodes, rank, sole_consumer

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
CLIP_INPUTS_SINCE = 11  # before, the limits were attributes
HARD_SWISH_SINCE = 14
MISH_SINCE = 18


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of operators or expressions replaced."""
    edit, opset = Editor(model.graph), models.opset(model)
    changes = sum(_canonical_limits(edit, node, opset) for node in live_nodes(model.graph))
    return changes + rewrite_all(model, _rules(options.recognise, opset))


def _limits(node: ir.Node | None) -> tuple[ir.Value, float, float] | None:
    """``(x, low, high)`` of an operator that is ``min(max(x, low), high)``."""
    if node is None or not is_op(node, "Relu", "Clip", "Max", "Min") or not node.inputs:
        return None
    data, low, high = node.inputs[0], -math.inf, math.inf
    if node.op_type == "Relu":
        low = 0.0
    elif node.op_type == "Clip":
        given = [value for value in node.inputs[1:] if value is not None]
        if {"min", "max"} & set(node.attributes) or any(constant_scalar(value) is None for value in given):
            return None
        low, high = (_given_limit(node, index, default) for index, default in ((1, low), (2, high)))
    else:
        found = _operand_and_limit(node)
        if found is None:
            return None
        data, limit = found
        low, high = (limit, high) if node.op_type == "Max" else (low, limit)
    if data is None or data.dtype not in FLOATS or not low <= high:
        return None
    largest = float(np.finfo(data.dtype.numpy()).max)
    return data, -math.inf if low <= -largest else low, math.inf if high >= largest else high


def _given_limit(node: ir.Node, index: int, default: float) -> float:
    value = node.inputs[index] if index < len(node.inputs) else None
    number = constant_scalar(value)
    return default if number is None else number


def _operand_and_limit(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The operand and the scalar constant of a Max or Min of two."""
    if len(node.inputs) != 2:
        return None
    for data, constant in (tuple(node.inputs), tuple(reversed(node.inputs))):
        limit = constant_scalar(constant)
        if data is not None and limit is not None and not models.is_constant(data):
            return (data, limit) if (rank(constant) or 0) <= (rank(data) or 0) else None
    return None


def _canonical_limits(edit: Editor, node: ir.Node, opset: int) -> bool:
    """Merges `node` with the limits before it, and writes it as Relu or Clip; False if it is so already."""
    found = _limits(node)
    if found is None or opset < CLIP_INPUTS_SINCE:
        return False
    data, low, high = found
    chain: list[ir.Node | None] = []
    while sole_consumer(data) in (node, *chain) and (inner := _limits(data.producer())) is not None:
        chain.append(data.producer())
        data = inner[0]
        low, high = (min(max(limit, low), high) for limit in inner[1:])
    op_type = "Relu" if (low, high) == (0.0, math.inf) else "Clip"
    if not chain and node.op_type == op_type:
        return False
    inputs = [data] if op_type == "Relu" else [data, *_limit_constants(edit, node, data, low, high)]
    new = edit.new_node(node, op_type, inputs, like=node.outputs[0])
    hand_over(node.outputs[0], new.outputs[0])
    for inner_node in chain:
        assert inner_node is not None
        remove_with_constants(inner_node)
    return True


def _limit_constants(
    edit: Editor, node: ir.Node, data: ir.Value, low: float, high: float
) -> Sequence[ir.Value | None]:
    name, dtype = node.outputs[0].name, data.dtype
    assert dtype is not None
    return [
        None if math.isinf(limit) else edit.constant(f"{name}_{end}", np.array(limit, dtype.numpy()))
        for limit, end in ((low, "min"), (high, "max"))
    ]


_EXP_SUM = Op("Add", Op("Exp", OneOf(Op("Neg", "x"), Op("Mul", "x", -1.0))), 1.0)
_SIGMOID = OneOf(Op("Reciprocal", _EXP_SUM), Op("Div", 1.0, _EXP_SUM))
_SILU = Op("Div", "x", _EXP_SUM)
_LEAKY_RELU = Op("Max", "x", Op("Mul", "x", Scalar("alpha")))
_SOFTPLUS = OneOf(Op("Softplus", "x"), Op("Log", Op("Add", Op("Exp", "x"), 1.0)))
_MISH = Op("Mul", "x", Op("Tanh", _SOFTPLUS))


def _sixth(value: Pattern) -> OneOf:
    return OneOf(Op("Div", value, 6.0), Op("Mul", value, 1 / 6))


_RAMP = Op("Clip", Op("Add", "x", 3.0), 0.0, 6.0)  # from 0 at x = -3 to 6 at x = 3
_HARD_SIGMOID = OneOf(_sixth(_RAMP), Op("Clip", Op("Add", _sixth("x"), 0.5), 0.0, 1.0))
_HARD_SWISH = OneOf(
    Op("Mul", "x", OneOf(_HARD_SIGMOID, Op("HardSigmoid", "x"))),
    _sixth(Op("Mul", "x", _RAMP)),
    Op("Mul", _sixth("x"), _RAMP),
)


def _rules(recognise: frozenset[str], opset: int) -> list[tuple[Pattern, Rewrite]]:
    rules: list[tuple[Pattern, Rewrite]] = []
    if "HardSwish" in recognise and opset >= HARD_SWISH_SINCE:
        rules.append((_HARD_SWISH, _hard_swish))
    if "HardSigmoid" in recognise:
        rules.append((_HARD_SIGMOID, _hard_sigmoid))
    if "Silu" in recognise:
        rules.append((_SILU, _silu))
    if "Mish" in recognise and opset >= MISH_SINCE:
        rules.append((_MISH, lambda match: match.insert("Mish", [match["x"]])))
    rules.append((_SIGMOID, lambda match: match.insert("Sigmoid", [match["x"]])))
    rules.append((_LEAKY_RELU, _leaky_relu))
    return rules


def _hard_swish(match: Match) -> ir.Value | None:
    for node in match.of_type("HardSigmoid"):
        alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
        if not (math.isclose(alpha, 1 / 6, rel_tol=1e-4) and math.isclose(beta, 0.5, rel_tol=1e-4)):
            return None
    return match.insert("HardSwish", [match["x"]])


def _hard_sigmoid(match: Match) -> ir.Value:
    return match.insert("HardSigmoid", [match["x"]], {"alpha": 1 / 6, "beta": 0.5})


def _silu(match: Match) -> ir.Value:
    return match.insert("Mul", [match["x"], match.insert("Sigmoid", [match["x"]])])


def _leaky_relu(match: Match) -> ir.Value | None:
    alpha = match.number("alpha")
    if not 0 <= alpha <= 1 or match["x"].dtype not in FLOATS:
        return None
    return match.insert("LeakyRelu", [match["x"]], {"alpha": alpha})
