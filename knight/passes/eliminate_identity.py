"""Removes operators that change nothing, and merges neighbours that together do what one of them can.

Alone: Identity, Dropout at inference, a Cast to the same type, a Transpose, Reshape, Pad, Slice ... that
leaves every element in its place, arithmetic with a neutral constant. Together: two Transposes, two operators
that only change the shape.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, is_used, remove_node
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._identities import IDENTITIES
from knight.passes._queries import constant_ints, is_tensor, live_nodes, rank, same_shape, sole_consumer

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of nodes removed or merged."""
    changes, edit = 0, Editor(model.graph)
    for node in live_nodes(model.graph):
        while node.graph is not None and (_merge_transposes(node) or _merge_reshapes(edit, node)):
            changes += 1
        if node.graph is not None:
            changes += _eliminate(edit, node)
    return changes


def _eliminate(edit: Editor, node: ir.Node) -> bool:
    is_identity = IDENTITIES.get(node.op_type)
    if is_identity is None or not is_op(node) or not node.inputs or node.inputs[0] is None:
        return False
    if node.op_type != "Identity" and not is_tensor(node.outputs[0]):
        return False
    source = is_identity(node)
    return source is not None and edit.bypass(node, source)


def _merge_transposes(node: ir.Node) -> bool:
    """``transpose(transpose(x, p), q) = transpose(x, p[q])``."""
    first = _reshaper_before(node, "Transpose")
    if first is None:
        return False
    inner, outer = _perm(first), _perm(node)
    if inner is None or outer is None:
        return False
    node.replace_input_with(0, first.inputs[0])
    node.attributes["perm"] = ir.AttrInt64s("perm", [inner[axis] for axis in outer])
    _remove_idle(first)
    return True


def _reshaper_before(node: ir.Node, *kinds: str) -> ir.Node | None:
    """The node in front of `node`, where both are of `kinds`."""
    value = node.inputs[0] if is_op(node, *kinds) else None
    first = None if value is None else value.producer()
    return first if first is not None and is_op(first, *kinds) and first.inputs[0] is not None else None


def _perm(node: ir.Node) -> list[int] | None:
    perm = node.attributes.get("perm")
    if perm is not None:
        return list(perm.as_ints())
    size = rank(node.inputs[0])
    return None if size is None else list(reversed(range(size)))


def _merge_reshapes(edit: Editor, node: ir.Node) -> bool:
    """Of two operators that only change the shape, the second can do it alone, or both are in vain."""
    first = _reshaper_before(node, *RESHAPES)
    if first is None or first.inputs[0] is None:
        return False
    if same_shape(first.inputs[0], node.outputs[0]):
        merged = edit.bypass(node, first.inputs[0])
    else:
        merged = sole_consumer(first.outputs[0]) is node and _reshape_directly(edit, node, first.inputs[0])
    if merged:
        _remove_idle(first)
    return merged


def _reshape_directly(edit: Editor, node: ir.Node, source: ir.Value) -> bool:
    """Makes `node` the Reshape from `source` to what it gives now."""
    own = constant_ints(node.inputs[1]) if node.op_type == "Reshape" else None
    if own is None or (0 in own and not models.attribute(node, "allowzero", 0)):
        target = _target(node.outputs[0])
        if target is None:
            return False
        node.op_type = "Reshape"
        node.attributes.clear()
        node.resize_inputs(2)
        name = f"{node.outputs[0].name}_shape"
        node.replace_input_with(1, edit.constant(name, np.array(target, dtype=np.int64)))
    node.replace_input_with(0, source)
    return True


def _target(value: ir.Value) -> list[int] | None:
    """The shape of `value` as the target of a Reshape: at most one dimension is open, none is empty."""
    if value.shape is None:
        return None
    target = [dim if isinstance(dim, int) else -1 for dim in value.shape]
    return target if target.count(-1) <= 1 and 0 not in target else None


def _remove_idle(node: ir.Node) -> None:
    if node.graph is not None and not any(map(is_used, node.outputs)):
        remove_node(node)
