"""Relu and Clip that a tool has left to the saturation of integers, put back into the float model.

Where a value's integers begin at zero, rounding cuts off what is below; ONNX Runtime's quantizer then drops
the Relu or Clip in front of it. With the rounding taken out, the operator has to stand there again.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models, operators
from knight.names import Names
from knight.qdq.integer_operators import moving_of
from knight.types import QParams

_SIX = np.float32(6.0)  # of Relu6, the one upper bound that nets of the field have
_NEVER_NEGATIVE = frozenset(
    {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Sqrt", "Abs", "ReduceL1", "ReduceL2"}
)
_KEEP_SIGN = frozenset(
    {"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Add", "Mul", "Div", "Sum", "Mean"}
)
"""Operators that make no negative numbers of numbers that are not negative."""


def restore_bounds(
    model: ir.Model, values: dict[ir.Value, QParams], raw: set[ir.Value], names: Names
) -> list[str]:
    """Names of the Relu and Clip nodes that are put in.

    values: how activations are rounded; a bounded value takes its maker's place there, under the same name.
    raw: values that some reader reads unrounded, so that nothing was dropped before them.
    """
    positive: set[ir.Value] = set()  # as their makers leave them
    bounded: dict[ir.Value, ir.Node] = {}
    for node in model.graph:
        if not _gives_positive(node, positive, values):
            cut = (value for value in node.outputs if value in values and value not in raw)
            bounded.update((value, node) for value in cut if _begins_at_zero(values[value]))
        else:
            positive.update(node.outputs)
    restored = []
    for value, maker in bounded.items():
        params = values.pop(value)
        bound = _bound(model, value, params, names)
        bound.name = names.fresh(f"{value.name}_{bound.op_type}")
        result = bound.outputs[0]
        result.type, result.shape = value.type, value.shape
        value.replace_all_uses_with(result, replace_graph_outputs=True)
        bound.replace_input_with(0, value)
        model.graph.insert_after(maker, bound)
        result.name, value.name = value.name, names.fresh(f"{value.name}_before_{bound.op_type.lower()}")
        values[result] = params
        restored.append(bound.name)
    return restored


def _begins_at_zero(params: QParams) -> bool:
    return bool(np.all(params.low == 0))


def _gives_positive(node: ir.Node, positive: set[ir.Value], values: dict[ir.Value, QParams]) -> bool:
    if node.op_type in _NEVER_NEGATIVE:
        return True
    if node.op_type == "Clip":
        least = models.constant(node.inputs[1]) if len(node.inputs) > 1 else models.attribute(node, "min")
        if least is not None and np.all(np.asarray(least) >= 0):
            return True
    if moving_of(node) is None and node.op_type not in _KEEP_SIGN:
        return False
    data = operators.roles(node).data
    read = [value for place, value in enumerate(node.inputs) if data is None or place in data]
    return all(
        value is None
        or value in positive
        or (value in values and _begins_at_zero(values[value]))
        or _is_positive(models.constant(value))
        for value in read
    )


def _is_positive(numbers: np.ndarray | None) -> bool:
    return numbers is not None and bool(np.all(numbers >= 0))


def _bound(model: ir.Model, value: ir.Value, params: QParams, names: Names) -> ir.Node:
    """Relu, or a Clip at six where the integers end there."""
    if not np.allclose(params.high, _SIX, rtol=1e-5, atol=0):
        return ir.Node("", "Relu", [value], num_outputs=1)
    limits = {"min": np.float32(0), "max": _SIX}
    if models.opset(model) < 11:
        attributes = [ir.AttrFloat32(key, float(limit)) for key, limit in limits.items()]
        return ir.Node("", "Clip", [value], attributes, num_outputs=1)
    stated = [
        models.initializer(names.fresh(f"{value.name}_{key}"), np.asarray(limit))
        for key, limit in limits.items()
    ]
    for each in stated:
        model.graph.register_initializer(each)
    return ir.Node("", "Clip", [value, *stated], num_outputs=1)
