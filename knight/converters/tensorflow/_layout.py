"""NHWC and NCHW: what -c2chw means at the border of the model.

Pictures go in as NCHW, and everything from there on is NCHW. An output of four dimensions that tf2onnx
computes in NCHW and only turns back at the end is left in NCHW too; one that is no picture to it stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from knight.listener import Listener

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)


def is_picture(shape: Sequence[int | None] | None) -> bool:
    """A tensor of four dimensions."""
    return shape is not None and len(shape) == 4


def leave_outputs_in_nchw(model: ir.Model) -> frozenset[str]:
    """Takes the last Transpose to NHWC from each output; gives the names of the outputs that changed."""
    turned = set()
    for place, output in enumerate(model.graph.outputs):
        node = output.producer()
        if node is None or node.op_type != "Transpose" or _perm(node) != TO_NHWC or output.uses():
            continue
        before = node.inputs[0]
        if before is None or before.is_graph_input() or before.is_graph_output() or before.is_initializer():
            continue
        name = output.name
        model.graph.outputs[place] = before
        model.graph.remove(node, safe=True)
        before.name = name
        turned.add(name or "")
    return frozenset(turned)


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
