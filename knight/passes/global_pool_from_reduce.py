"""ReduceMean and ReduceMax over all spatial axes of feature maps become the global pooling that they are.

Runtimes have integer kernels for GlobalAveragePool more often than for ReduceMean. Where the axes are
dropped, a Flatten follows. Only from four dimensions on: with three, what looks like a spatial axis may be
the features of a token.
"""

from __future__ import annotations

import onnx_ir as ir

from knight.edit import Editor, take_place
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes, rank, reduced_axes

POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of reductions that became a pooling."""
    del options
    edit = Editor(model.graph)
    return sum(_rewrite(edit, node) for node in live_nodes(model.graph) if is_op(node, *POOLS))


def _rewrite(edit: Editor, node: ir.Node) -> bool:
    data, output, size = node.inputs[0], node.outputs[0], rank(node.inputs[0])
    if data is None or size is None or size < 4:
        return False
    if output.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        return False
    if reduced_axes(node, size) != tuple(range(2, size)):
        return False
    assert data.shape is not None
    pool = edit.new_node(node, POOLS[node.op_type], [data])
    pool.outputs[0].type = output.type
    pool.outputs[0].shape = ir.Shape([*tuple(data.shape)[:2], *[1] * (size - 2)])
    if node.attributes.get_int("keepdims", 1):
        take_place(node, pool)
    else:
        take_place(node, edit.new_node(node, "Flatten", pool.outputs, {"axis": 1}, like=output))
    return True
