"""When an operator changes nothing: one small function for each, keyed by operator.

A function is handed a node and answers with the input that its first output equals, or None. Dimensions count
as equal only when they are the same number or have the same name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.passes._queries import constant_ints, is_random, rank, same_dims, same_shape, static_shape

Source = Callable[[ir.Node], "ir.Value | None"]
_INT32_MAX = 2**31 - 1
_EXACT_AT_SCALE_ONE = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)


def _first(node: ir.Node) -> ir.Value | None:
    return node.inputs[0]


def _dropout(node: ir.Node) -> ir.Value | None:
    return None if is_random(node) else node.inputs[0]


def _cast(node: ir.Node) -> ir.Value | None:
    value = node.inputs[0]
    if node.op_type == "CastLike":
        like = node.inputs[1]
        wanted = None if like is None else like.dtype
    else:
        wanted = ir.DataType(node.attributes["to"].as_int())
    return value if value is not None and value.dtype is not None and value.dtype == wanted else None


def _transpose(node: ir.Node) -> ir.Value | None:
    perm = node.attributes.get("perm")
    if perm is None:
        size = rank(node.inputs[0])
        return node.inputs[0] if size is not None and size <= 1 else None
    order = list(perm.as_ints())
    return node.inputs[0] if order == sorted(order) else None


def _reshape(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if same_shape(node.inputs[0], node.outputs[0]) else None


def _expand(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if same_dims(node.inputs[0], node.outputs[0]) else None


def _tile(node: ir.Node) -> ir.Value | None:
    repeats = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
    return node.inputs[0] if repeats is not None and set(repeats) <= {1} else None


def _slice(node: ir.Node) -> ir.Value | None:
    """All of every axis, forwards."""
    bounds = [None if value is None else constant_ints(value) for value in node.inputs[1:]]
    starts, ends, _, steps = (*bounds, None, None, None, None)[:4]
    if starts is None or ends is None or any(starts):
        return None
    if len(node.inputs) > 4 and node.inputs[4] is not None and (steps is None or set(steps) != {1}):
        return None
    if all(end >= _INT32_MAX for end in ends):
        return node.inputs[0]
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    return node.inputs[0] if before is not None and before == after else None


def _pad(node: ir.Node) -> ir.Value | None:
    pads = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
    return node.inputs[0] if pads is not None and not any(pads) else None


def _only_input(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _resize(node: ir.Node) -> ir.Value | None:
    """Equal sizes, and a scale of exactly one: a scale of 1.001 may give equal sizes and still resample."""
    if models.attribute(node, "coordinate_transformation_mode", "half_pixel") not in _EXACT_AT_SCALE_ONE:
        return None
    if models.attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    scales = models.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is not None and scales.size:
        return node.inputs[0] if np.all(scales == 1) else None
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return None
    return node.inputs[0] if same_dims(node.inputs[0], node.outputs[0]) else None


def _window_of_one(node: ir.Node) -> ir.Value | None:
    """A pooling window of one element, moved by one."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return None
    for name in ("kernel_shape", "strides"):
        attribute = node.attributes.get(name)
        if attribute is not None and set(attribute.as_ints()) != {1}:
            return None
    pads = node.attributes.get("pads")
    return None if pads is not None and any(pads.as_ints()) else node.inputs[0]


def _one_element_each(node: ir.Node) -> ir.Value | None:
    """A global pooling over a single element."""
    shape = static_shape(node.inputs[0])
    return node.inputs[0] if shape is not None and set(shape[2:]) <= {1} else None


def _neutral(number: float, *, either_side: bool) -> Source:
    """Arithmetic with a constant that is `number` throughout and does not broadcast the other operand."""

    def source(node: ir.Node) -> ir.Value | None:
        pairs = [(node.inputs[0], node.inputs[1])]
        if either_side:
            pairs.append((node.inputs[1], node.inputs[0]))
        for data, constant in pairs:
            if data is not None and constant is not None and _leaves_alone(node, data, constant, number):
                return data
        return None

    return source


def _leaves_alone(node: ir.Node, data: ir.Value, constant: ir.Value, number: float) -> bool:
    shape, size = static_shape(constant), rank(data)
    if not models.is_constant(constant) or shape is None or size is None:
        return False
    if data.dtype is None or data.dtype != node.outputs[0].dtype:
        return False
    does_not_broadcast = len(shape) <= size and set(shape) <= {1}
    if not does_not_broadcast and not same_dims(data, node.outputs[0]):
        return False
    array = models.constant(constant)
    return array is not None and array.dtype.kind in "fiu" and bool(np.all(array == number))


IDENTITIES: dict[str, Source] = {
    "Identity": _first,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "Slice": _slice,
    "Pad": _pad,
    "Concat": _only_input,
    "Sum": _only_input,
    "Mean": _only_input,
    "Max": _only_input,
    "Min": _only_input,
    "Resize": _resize,
    "AveragePool": _window_of_one,
    "MaxPool": _window_of_one,
    "GlobalAveragePool": _one_element_each,
    "GlobalMaxPool": _one_element_each,
    "Add": _neutral(0, either_side=True),
    "Sub": _neutral(0, either_side=False),
    "Mul": _neutral(1, either_side=True),
    "Div": _neutral(1, either_side=False),
    "Pow": _neutral(1, either_side=False),
}
