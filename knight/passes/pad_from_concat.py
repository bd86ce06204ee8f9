"""A Concat that only puts zeros around one tensor becomes a Pad, which later passes can fold away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, take_place
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes, rank


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of Concat operators that became a Pad."""
    del options
    edit = Editor(model.graph)
    return sum(_rewrite(edit, node) for node in live_nodes(model.graph) if is_op(node, "Concat"))


def _rewrite(edit: Editor, concat: ir.Node) -> bool:
    output, size = concat.outputs[0], rank(concat.outputs[0])
    if size is None or output.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        return False
    axis = concat.attributes["axis"].as_int() % size
    tensors = [value for value in concat.inputs if not _is_zero(value)]
    if len(tensors) != 1 or len(concat.inputs) < 2:
        return False
    place = concat.inputs.index(tensors[0])
    before = _length(concat.inputs[:place], axis)
    after = _length(concat.inputs[place + 1 :], axis)
    if before is None or after is None:
        return False
    pads = np.zeros(2 * size, np.int64)
    pads[axis], pads[size + axis] = before, after
    amount = edit.constant(f"{concat.name}.pads", pads)
    take_place(concat, edit.new_node(concat, "Pad", [tensors[0], amount], like=output))
    return True


def _is_zero(value: ir.Value | None) -> bool:
    """Every element is zero, whatever the shape turns out to be."""
    array = models.constant(value)
    if array is not None:
        return not array.any()
    node = value.producer() if value is not None else None
    if is_op(node, "Expand"):
        assert node is not None
        return _is_zero(node.inputs[0])
    if is_op(node, "ConstantOfShape"):
        assert node is not None
        fill = node.attributes.get("value")
        return fill is None or not fill.as_tensor().numpy().any()
    return False


def _length(values: Sequence[ir.Value | None], axis: int) -> int | None:
    """Elements along `axis` of all `values` together, None where one is not known."""
    total = 0
    for value in values:
        dim = value.shape[axis] if value is not None and value.shape is not None else None
        if not isinstance(dim, int):
            return None
        total += dim
    return total
