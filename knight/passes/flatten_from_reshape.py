"""Reshape and Squeeze that keep the first dimension and join the others become Flatten.

Every framework writes the step from feature maps to a classifier in its own way; Flatten needs no target
shape, so it is right for every batch size.
"""

from __future__ import annotations

import onnx_ir as ir

from knight.edit import Editor, take_place
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes, rank, same_dim


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of operators that became a Flatten."""
    del options
    edit = Editor(model.graph)
    return sum(_rewrite(edit, node) for node in live_nodes(model.graph) if is_op(node, "Reshape", "Squeeze"))


def _rewrite(edit: Editor, node: ir.Node) -> bool:
    data, output = node.inputs[0], node.outputs[0]
    if data is None or data.shape is None or output.shape is None or rank(output) != 2:
        return False
    if len(data.shape) < 3 or data.shape[0] == 0 or not same_dim(data.shape[0], output.shape[0]):
        return False
    if isinstance(data.shape[0], ir.SymbolicDim) and not _others_decide(data):
        return False
    take_place(node, edit.new_node(node, "Flatten", [data], {"axis": 1}, like=output))
    return True


def _others_decide(data: ir.Value) -> bool:
    """An open first dimension is only known to be kept where no other dimension may be zero."""
    assert data.shape is not None
    return all(isinstance(dim, int) and dim > 0 for dim in tuple(data.shape)[1:])
