"""A reduction after a Transpose reads what was before it, along the axes that they were there.

Exporters of NHWC frameworks turn feature maps back to NHWC before their mean over height and width. Where the
reduced axes are dropped and the others are in order, the Transpose was for nothing.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.passes import PassOptions
from knight.passes._fold import drop_unread_constant, remove
from knight.passes._rewrite import is_op, live_nodes, rank, reduced_axes

REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2")


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of reductions that skip a Transpose."""
    del options
    return sum(_skip(node) for node in live_nodes(model.graph) if is_op(node, *REDUCTIONS))


def _skip(node: ir.Node) -> bool:
    value = node.inputs[0]
    transpose = value.producer() if value is not None else None
    size = rank(value)
    if value is None or size is None or transpose is None or not is_op(transpose, "Transpose"):
        return False
    perm = list(transpose.attributes.get_ints("perm") or range(size - 1, -1, -1))
    axes = reduced_axes(node)
    if axes is None or models.attribute(node, "keepdims", 1):
        return False
    reduced = {axis % size for axis in axes}
    kept = [perm[axis] for axis in range(size) if axis not in reduced]
    if kept != sorted(kept):
        return False
    _set_axes(node, sorted(perm[axis] for axis in reduced))
    node.replace_input_with(0, transpose.inputs[0])
    if not value.uses() and not value.is_graph_output():
        remove(transpose)
    return True


def _set_axes(node: ir.Node, axes: list[int]) -> None:
    if len(node.inputs) < 2:
        node.attributes.add(ir.AttrInt64s("axes", axes))
        return
    graph, old = node.graph, node.inputs[1]
    assert isinstance(graph, ir.Graph)
    value = models.add_initializer(graph, f"{node.name}.axes", np.array(axes, np.int64))
    node.replace_input_with(1, value)
    drop_unread_constant(graph, old)
