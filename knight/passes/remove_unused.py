"""Removes what no output depends on: nodes, initializers, and optional outputs that nobody reads."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from knight import model as models
from knight.edit import drop_unread_initializers, is_used, remove_node
from knight.operators import STANDARD, is_op
from knight.passes import PassOptions


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of nodes, initializers and outputs removed. Graph inputs stay."""
    graph = model.graph
    changes = 0
    for node in reversed(tuple(graph)):
        if not any(map(is_used, node.outputs)):
            remove_node(node)
            changes += 1
        else:
            changes += _drop_optional_outputs(node, models.opset(model)) + _drop_trailing_inputs(node)
    return changes + drop_unread_initializers(graph)


def _drop_optional_outputs(node: ir.Node, opset: int) -> int:
    """An unread optional output loses its name, which is how ONNX says that it is not asked for."""
    if node.domain not in STANDARD or not onnx.defs.has(node.op_type, ""):
        return 0
    if is_op(node, "BatchNormalization") and models.attribute(node, "training_mode", 0):
        return 0  # the number of outputs is part of what training mode means
    formal = onnx.defs.get_schema(node.op_type, opset, "").outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    changes = 0
    for output, parameter in zip(node.outputs, formal, strict=False):
        if output.name and parameter.option == optional and not is_used(output):
            output.name = ""
            changes += 1
    kept = len(node.outputs)
    while kept > 1 and not node.outputs[kept - 1].name:
        kept -= 1
    node.resize_outputs(kept)
    return changes


def _drop_trailing_inputs(node: ir.Node) -> int:
    kept = len(node.inputs)
    while kept and node.inputs[kept - 1] is None:
        kept -= 1
    dropped = len(node.inputs) - kept
    node.resize_inputs(kept)
    return dropped
