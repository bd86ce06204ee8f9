"""A reduction after a Transpose reads what was before it, along the axes that they were there.

Exporters of NHWC frameworks turn feature maps back to NHWC before their mean over height and width. Where the
reduced axes are dropped and the others are in order, the Transpose was for nothing.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, drop_unread_constant, is_used, remove_with_constants
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes, rank, reduced_axes

REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2")


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of reductions that skip a Transpose."""
    del options
    edit = Editor(model.graph)
    return sum(_skip(edit, node) for node in live_nodes(model.graph) if is_op(node, *REDUCTIONS))


def _skip(edit: Editor, node: ir.Node) -> bool:
    value = node.inputs[0]
    transpose = value.producer() if value is not None else None
    size = rank(value)
    if value is None or size is None or transpose is None or not is_op(transpose, "Transpose"):
        return False
    perm = list(transpose.attributes.get_ints("perm") or range(size - 1, -1, -1))
    reduced = reduced_axes(node, size)
    if reduced is None or models.attribute(node, "keepdims", 1):
        return False
    kept = [perm[axis] for axis in range(size) if axis not in reduced]
    if kept != sorted(kept):
        return False
    _set_axes(edit, node, sorted(perm[axis] for axis in reduced))
    node.replace_input_with(0, transpose.inputs[0])
    if not is_used(value):
        remove_with_constants(transpose)
    return True


def _set_axes(edit: Editor, node: ir.Node, axes: list[int]) -> None:
    if len(node.inputs) < 2:
        node.attributes.add(ir.AttrInt64s("axes", axes))
        return
    old = node.inputs[1]
    value = edit.constant(f"{node.name}.axes", np.array(axes, np.int64))
    node.replace_input_with(1, value)
    drop_unread_constant(edit.graph, old)
