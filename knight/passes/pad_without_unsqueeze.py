"""Unsqueeze, Pad, Squeeze of the same axes is a Pad alone: Paddle pads pictures as volumes of depth one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight.edit import Editor, remove_with_constants, take_place
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import constant_ints, live_nodes, rank, sole_consumer


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of Unsqueeze, Pad, Squeeze chains that became a Pad."""
    del options
    edit = Editor(model.graph)
    return sum(_rewrite(edit, node) for node in live_nodes(model.graph) if is_op(node, "Squeeze"))


def _rewrite(edit: Editor, squeeze: ir.Node) -> bool:
    pad = _only_reader_of(squeeze, "Pad")
    unsqueeze = _only_reader_of(pad, "Unsqueeze") if pad is not None else None
    if pad is None or unsqueeze is None or len(pad.inputs) > 3:
        return False
    size = rank(pad.inputs[0])
    added, dropped, pads = _axes(unsqueeze, size), _axes(squeeze, size), constant_ints(pad.inputs[1])
    if size is None or pads is None or added is None or added != dropped or len(pads) != 2 * size:
        return False
    both = np.array(pads).reshape(2, size)
    if both[:, sorted(added)].any():
        return False
    kept = np.delete(both, sorted(added), axis=1).reshape(-1)
    amount = edit.constant(f"{pad.name}.pads", kept)
    inputs = [unsqueeze.inputs[0], amount, *pad.inputs[2:]]
    mode = {"mode": pad.attributes.get_string("mode", "constant")}
    name, new = pad.name, edit.new_node(squeeze, "Pad", inputs, mode, like=squeeze.outputs[0])
    take_place(squeeze, new)
    remove_with_constants(pad)
    remove_with_constants(unsqueeze)
    new.name = name  # the layer is the Pad; the others are its exporter's
    return True


def _only_reader_of(node: ir.Node, op_type: str) -> ir.Node | None:
    """The `op_type` before `node`, when `node` alone reads its result."""
    value = node.inputs[0]
    before = value.producer() if value is not None else None
    if value is None or before is None or not is_op(before, op_type) or sole_consumer(value) is not node:
        return None
    return before


def _axes(node: ir.Node, size: int | None) -> frozenset[int] | None:
    axes = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None or size is None else frozenset(axis % size for axis in axes)
