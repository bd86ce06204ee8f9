"""Slices that follow each other along different axes become one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight.edit import Editor, drop_unread_constant, remove_with_constants
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import constant_ints, live_nodes, rank, sole_consumer


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of Slice operators that went away."""
    del options
    edit = Editor(model.graph)
    return sum(_merge(edit, node) for node in live_nodes(model.graph) if is_op(node, "Slice"))


def _merge(edit: Editor, second: ir.Node) -> bool:
    between = second.inputs[0]
    first = between.producer() if between is not None else None
    if between is None or first is None or not is_op(first, "Slice") or sole_consumer(between) is not second:
        return False
    bounds = [_bounds(first), _bounds(second)]
    if bounds[0] is None or bounds[1] is None or set(bounds[0]) & set(bounds[1]):
        return False
    both = {**bounds[0], **bounds[1]}
    columns = {"starts": 0, "ends": 1, "steps": 2}
    arrays = {key: [bound[column] for bound in both.values()] for key, column in columns.items()}
    arrays["axes"] = list(both)
    replaced = second.inputs[1:]
    second.resize_inputs(5)
    for index, key in enumerate(("starts", "ends", "axes", "steps"), 1):
        array = np.array(arrays[key], np.int64)
        second.replace_input_with(index, edit.constant(f"{second.name}.{key}", array))
    second.replace_input_with(0, first.inputs[0])
    remove_with_constants(first)
    for value in replaced:
        drop_unread_constant(edit.graph, value)
    return True


def _bounds(node: ir.Node) -> dict[int, tuple[int, int, int]] | None:
    """Start, end and step by axis, None where they are computed."""
    size = rank(node.inputs[0])
    given = [None if value is None else constant_ints(value) for value in node.inputs[1:]]
    computed = any(
        value is not None and ints is None for value, ints in zip(node.inputs[1:], given, strict=True)
    )
    if size is None or computed or len(given) < 2 or given[0] is None or given[1] is None:
        return None
    starts, ends, axes, steps = (*given, None, None)[:4]
    assert starts is not None and ends is not None
    count = len(starts)
    named = tuple(range(count)) if axes is None else tuple(axis % size for axis in axes)
    strides = (1,) * count if steps is None else steps
    return {axis: (starts[i], ends[i], strides[i]) for i, axis in enumerate(named)}
