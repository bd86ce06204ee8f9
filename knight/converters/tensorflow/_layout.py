"""NHWC and NCHW: what -c2chw means at the border of the model.

Pictures go in as NCHW, and everything from there on is NCHW. An output of four dimensions that tf2onnx
computes in NCHW and only turns back at the end is left in NCHW too; one that is no picture to it stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, is_used, remove_node
from knight.listener import Listener
from knight.model import name_of

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)
_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")


def is_picture(shape: Sequence[int | None] | None) -> bool:
    """A tensor of four dimensions."""
    return shape is not None and len(shape) == 4


def leave_outputs_in_nchw(model: ir.Model) -> frozenset[str]:
    """Takes the last Transpose to NHWC from each output; gives the names of the outputs that changed."""
    edit = Editor(model.graph)
    for reduction in list(model.graph):
        _reduce_before_turning(edit, reduction)
    turned = set()
    for place, output in enumerate(model.graph.outputs):
        node = output.producer()
        if node is not None and node.op_type == "Transpose" and _perm(node) == TO_NHWC:
            _show_before(edit, place, node)
            turned.add(name_of(model.graph.outputs[place]))
    return frozenset(turned)


def _show_before(edit: Editor, place: int, node: ir.Node) -> None:
    """Makes what the Transpose `node` reads the output at `place`, under the same name."""
    graph, before, output = edit.graph, node.inputs[0], node.outputs[0]
    assert before is not None
    if before.is_graph_input() or before.is_graph_output() or before.is_initializer():
        identity = ir.Node("", "Identity", [before], num_outputs=1)
        graph.insert_before(node, identity)
        before = identity.outputs[0]
    before.type = output.type
    if output.shape is not None:
        before.shape = ir.Shape([output.shape[axis] for axis in TO_NCHW])
    before.name, graph.outputs[place] = output.name, before
    if output.uses():
        output.name = edit.names.fresh(f"{output.name}.nhwc")
    else:
        graph.remove(node, safe=True)


def _reduce_before_turning(edit: Editor, node: ir.Node) -> None:
    """A reduction that keeps its axes (global pooling) comes before its input's Transpose to NHWC."""
    turning = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    if node.op_type not in _REDUCTIONS or len(node.inputs) < 2 or not models.attribute(node, "keepdims", 1):
        return
    axes = models.constant(node.inputs[1])
    if turning is None or turning.op_type != "Transpose" or _perm(turning) != TO_NHWC or axes is None:
        return
    moved = np.array(sorted(TO_NHWC[axis] for axis in axes), np.int64)
    node.replace_input_with(0, turning.inputs[0])
    node.replace_input_with(1, edit.constant(f"{node.name}.axes", moved))
    _turn(edit, node)
    if not is_used(turning.outputs[0]):
        remove_node(turning)


def _turn(edit: Editor, node: ir.Node) -> None:
    """Puts a Transpose to NHWC behind `node`, whose result it takes the name of."""
    graph, result, users = edit.graph, node.outputs[0], list(node.outputs[0].uses())
    transpose = ir.Node(
        "", "Transpose", [result], [ir.AttrInt64s("perm", TO_NHWC)], num_outputs=1, name=f"{node.name}__nhwc"
    )
    graph.insert_after(node, transpose)
    value = transpose.outputs[0]
    value.type, value.shape, value.name, result.shape = result.type, result.shape, result.name, None
    result.name = edit.names.fresh(f"{value.name}.nchw")
    for use in users:
        use.node.replace_input_with(use.idx, value)
    for place, output in enumerate(graph.outputs):
        if output is result:
            graph.outputs[place] = value


def tell_transposed(model: ir.Model, names: Sequence[str], listener: Listener) -> None:
    """Warns of inputs whose first operator is still a Transpose back to NHWC."""
    for value in model.graph.inputs:
        for use in value.uses():
            if value.name in names and use.node.op_type == "Transpose":
                readers = sorted({reader.node.op_type for reader in use.node.outputs[0].uses()})
                listener.warn(
                    f"-c2chw: a Transpose is left after input {value.name}, "
                    f"because {', '.join(readers)} reads it as NHWC"
                )


def _perm(node: ir.Node) -> tuple[int, ...]:
    attribute = node.attributes.get("perm")
    return () if attribute is None else tuple(attribute.as_ints())
