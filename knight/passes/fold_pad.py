"""Folds a Pad of constants into the `pads` of the Conv, AveragePool or MaxPool operators that read it.

Exact where the operator's own padding means the same: zeros for Conv; zeros that are counted for AveragePool
(``count_include_pad``); for MaxPool, whose own padding never wins, a value that cannot win either. A Pad that
several operators read is folded into all of them or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import remove_with_constants
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes, rank

NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt"})
SELECTING = frozenset({"MaxPool", "GlobalMaxPool", "Max", "Concat"})  # each result is one of the inputs
SEARCH_DEPTH = 8  # operators looked back over for a lower bound


@dataclass(frozen=True)
class Padding:
    """Elements put before and after each spatial axis, and their value."""

    begins: tuple[int, ...]
    ends: tuple[int, ...]
    value: float


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of Pad operators that went away."""
    del options
    return sum(_fold(node) for node in live_nodes(model.graph) if is_op(node, "Pad"))


def _fold(pad: ir.Node) -> bool:
    output, data = pad.outputs[0], pad.inputs[0]
    padding, uses = _padding(pad), output.uses()
    if padding is None or data is None or output.is_graph_output() or not uses:
        return False
    readers = [use.node for use in uses]
    if any(use.idx != 0 or use.node.graph is not pad.graph for use in uses):
        return False
    if not all(_accepts(reader, data, padding) for reader in readers):
        return False
    for reader in readers:
        pads = _sum(reader, padding)
        reader.attributes.pop("auto_pad", None)
        reader.attributes.add(ir.AttrInt64s("pads", pads))
        if reader.op_type == "AveragePool":
            reader.attributes.add(ir.AttrInt64("count_include_pad", 1))
        reader.replace_input_with(0, data)
    remove_with_constants(pad)
    return True


def _padding(pad: ir.Node) -> Padding | None:
    """What `pad` adds; None where that is not fixed, negative, or not only on spatial axes."""
    if pad.attributes.get_string("mode", "constant") != "constant" or len(pad.inputs) < 2:
        return None
    pads, value = models.constant(pad.inputs[1]), np.zeros(1)
    if len(pad.inputs) > 2 and pad.inputs[2] is not None:
        found = models.constant(pad.inputs[2])
        if found is None or not np.issubdtype(found.dtype, np.floating):
            return None
        value = found
    if pads is None or (pads < 0).any() or value.size != 1:
        return None
    axes_input = pad.inputs[3] if len(pad.inputs) > 3 else None
    axes = np.arange(len(pads) // 2) if axes_input is None else models.constant(axes_input)
    axis_count = len(pads) // 2 if axes_input is None else rank(pad.inputs[0])
    if axes is None or axis_count is None or axis_count < 3:
        return None
    full = np.zeros((2, axis_count), np.int64)
    full[:, axes] = pads.reshape(2, -1)
    if full[:, :2].any():
        return None
    begins, ends = full[:, 2:].tolist()
    return Padding(tuple(begins), tuple(ends), float(value.reshape(-1)[0]))


def _accepts(reader: ir.Node, data: ir.Value, padding: Padding) -> bool:
    if not is_op(reader, "Conv", "AveragePool", "MaxPool"):
        return False
    if reader.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    if any(own < 0 for own in _own_pads(reader, padding)):
        return False
    match reader.op_type:
        case "Conv":
            return padding.value == 0
        case "AveragePool":
            counted = reader.attributes.get_int("count_include_pad", 0) == 1
            alike = counted or not any(_own_pads(reader, padding))
            return padding.value == 0 and alike and _pool_accepts(reader, data, padding)
        case "MaxPool":
            indices = any(output.uses() or output.is_graph_output() for output in reader.outputs[1:])
            loses = _is_lowest(padding.value, data) or _at_least(data, padding.value, SEARCH_DEPTH)
            return loses and not indices and _pool_accepts(reader, data, padding)
    return False


def _pool_accepts(pool: ir.Node, data: ir.Value, padding: Padding) -> bool:
    """True if runtimes take the summed pads (less than the window) and all windows see an element of `data`.

    Under ceil_mode a last window may start in what was a real element and becomes padding: refused unless the
    windows fill the input exactly, where ceil_mode changes nothing.
    """
    kernel = pool.attributes.get_ints("kernel_shape")
    if kernel is None or len(kernel) != len(padding.begins):
        return False
    spatial = len(kernel)
    sums = np.reshape(_sum(pool, padding), (2, spatial)).sum(axis=0)
    if any(pad >= size for pad, size in zip(_sum(pool, padding), (*kernel, *kernel), strict=True)):
        return False
    dilations = np.array(pool.attributes.get_ints("dilations", [1] * spatial))
    if (dilations[sums > 0] != 1).any():
        return False
    if not pool.attributes.get_int("ceil_mode", 0):
        return True
    strides = np.array(pool.attributes.get_ints("strides", [1] * spatial))
    sizes = [] if data.shape is None else list(data.shape)[2:]
    if len(sizes) != spatial or not all(isinstance(size, int) for size in sizes):
        return False
    left_over = (np.array(sizes) + sums - dilations * (np.array(kernel) - 1) - 1) % strides
    return not left_over.any()


def _own_pads(reader: ir.Node, padding: Padding) -> Sequence[int]:
    return reader.attributes.get_ints("pads") or [0] * (2 * len(padding.begins))


def _sum(reader: ir.Node, padding: Padding) -> list[int]:
    own = _own_pads(reader, padding)
    return [mine + more for mine, more in zip(own, (*padding.begins, *padding.ends), strict=True)]


def _is_lowest(number: float, data: ir.Value) -> bool:
    """Minus infinity, or the lowest finite number of the type of `data`."""
    if data.dtype == ir.DataType.FLOAT16:
        return number <= float(np.finfo(np.float16).min)
    return number <= float(np.finfo(np.float64 if data.dtype == ir.DataType.DOUBLE else np.float32).min)


def _at_least(value: ir.Value | None, bound: float, depth: int) -> bool:
    """True if the operators before `value` show that no element is below `bound`."""
    if value is None or depth == 0:
        return False
    numbers = models.constant(value)
    if numbers is not None:
        return bool(numbers.size) and bool((numbers >= bound).all())
    node = value.producer()
    if node is None or not is_op(node):
        return False
    if node.op_type in NEVER_NEGATIVE:
        return bound <= 0
    if node.op_type == "Clip" and len(node.inputs) > 1 and _at_least(node.inputs[1], bound, 1):
        return len(node.inputs) < 3 or node.inputs[2] is None or _at_least(node.inputs[2], bound, 1)
    if node.op_type in ("Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"):
        return _at_least(node.inputs[0], bound, depth - 1)
    if node.op_type in SELECTING:
        return all(_at_least(item, bound, depth - 1) for item in node.inputs)
    if node.op_type in ("Add", "Mul", "AveragePool", "GlobalAveragePool"):
        return bound <= 0 and all(_at_least(item, 0, depth - 1) for item in node.inputs)
    return False
