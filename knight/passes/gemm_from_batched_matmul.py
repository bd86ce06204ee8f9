"""MatMul of a batched activation by a constant matrix, plus bias, becomes Reshape, Gemm, Reshape.

``[..., K] x [K, N] + [N]`` is one Gemm over all leading dimensions together. ONNX Runtime makes the same
change by itself, but only before it looks for quantized operators, which it then no longer recognises; done
here, the Gemm has an int32 bias and one integer kernel. Only for targets that recognise "Gemm", and only
where the result's shape can be
restored: at most one leading dimension unknown.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, copy_type
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes, rank, sole_consumer, static_shape


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of MatMuls replaced."""
    if "Gemm" not in options.recognise:
        return 0
    edit = Editor(model.graph)
    return sum(_replace(edit, node) for node in live_nodes(model.graph) if is_op(node, "MatMul"))


def _replace(edit: Editor, matmul: ir.Node) -> bool:
    data, weight = matmul.inputs
    add = sole_consumer(matmul.outputs[0])
    if data is None or weight is None or not is_op(add, "Add") or not models.is_constant(weight):
        return False
    assert add is not None
    bias = next((value for value in add.inputs if value is not matmul.outputs[0]), None)
    shape, leading = static_shape(weight), _leading(data)
    if shape is None or len(shape) != 2 or leading is None or static_shape(bias) != (shape[1],):
        return False
    if not models.is_constant(bias):
        return False
    flat = edit.new_node(
        add,
        "Reshape",
        [data, _ints(edit, (-1, shape[0]))],
        name=f"{matmul.name}_flatten",
        output=f"{data.name}_flat",
    )
    flat.outputs[0].type, flat.outputs[0].shape = data.type, ir.Shape([None, shape[0]])
    gemm = edit.new_node(
        add, "Gemm", [flat.outputs[0], weight, bias], name=matmul.name, output=matmul.outputs[0].name
    )
    gemm.outputs[0].type, gemm.outputs[0].shape = data.type, ir.Shape([None, shape[1]])
    restore = edit.new_node(
        add, "Reshape", [gemm.outputs[0], _ints(edit, (*leading, shape[1]))], name=f"{add.name}_restore"
    )
    name = add.outputs[0].name
    copy_type(add.outputs[0], restore.outputs[0])
    edit.replace_value(add.outputs[0], restore.outputs[0])
    if not restore.outputs[0].is_graph_output():
        restore.outputs[0].name = name  # later comparison pairs values by name
    if matmul.graph is not None:
        edit.graph.remove(matmul, safe=True)
    return True


def _leading(data: ir.Value) -> tuple[int, ...] | None:
    """The dimensions before the last as a Reshape target (one may be -1), None for 2-D or unknown data."""
    if (rank(data) or 0) < 3 or data.shape is None:
        return None
    dims = [dim if isinstance(dim, int) else -1 for dim in data.shape[:-1]]
    return tuple(dims) if dims.count(-1) <= 1 and 0 not in dims else None


def _ints(edit: Editor, numbers: tuple[int, ...]) -> ir.Value:
    return edit.constant("shape", np.array(numbers, np.int64))
