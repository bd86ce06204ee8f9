"""Folds BatchNormalization, whole or decomposed, into the linear operator beside it.

At inference a BatchNormalization is ``y = scale * x + shift`` per channel, with ``scale = gamma / sqrt(var +
epsilon)`` and ``shift = beta - mean * scale`` (Jacob et al., 2018, section 3.2). So are Mul, Add, Sub and
Div by a constant per channel. The linear operators are Conv, ConvTranspose, Gemm and MatMul with constant
weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, hand_over, remove_with_constants
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._fold import Affine, Channels, fold_after, fold_before, input_channels, output_channels
from knight.passes._queries import live_nodes, rank, sole_consumer

ELEMENTWISE = ("Mul", "Add", "Sub", "Div")
INFERENCE_ONLY_SINCE = 7  # until opset 6 BatchNormalization trained unless is_test said otherwise


def run(model: ir.Model, options: PassOptions) -> int:
    """Folds until nothing is left to fold; returns the number of operators that went away."""
    del options
    edit, opset = Editor(model.graph), models.opset(model)
    return sum(_fold(edit, node, opset) for node in live_nodes(model.graph))


def _fold(edit: Editor, node: ir.Node, opset: int) -> bool:
    if is_op(node, "BatchNormalization"):
        return _is_inference(node, opset) and (_into_producer(edit, node) or _into_reader(edit, node))
    return is_op(node, *ELEMENTWISE) and _into_producer(edit, node)


def _is_inference(node: ir.Node, opset: int) -> bool:
    return (
        opset >= INFERENCE_ONLY_SINCE
        and not node.attributes.get_int("training_mode", 0)
        and bool(node.attributes.get_int("spatial", 1))
        and not any(output.uses() or output.is_graph_output() for output in node.outputs[1:])
    )


def _into_producer(edit: Editor, node: ir.Node) -> bool:
    for index in (0, 1) if node.op_type in ELEMENTWISE else (0,):
        data = node.inputs[index]
        producer = data.producer() if data is not None else None
        if data is None or producer is None or sole_consumer(data) is not node:
            continue
        channels = output_channels(producer)
        affine = _affine(node, index, channels) if channels is not None else None
        if affine is None or (producer.op_type == "MatMul" and _only_shifts(node, producer)):
            continue
        if fold_after(edit, producer, affine):
            hand_over(node.outputs[0], data)
            return True
    return False


def _only_shifts(node: ir.Node, matmul: ir.Node) -> bool:
    """MatMul plus bias is another pass's work; a MatMul of unknown rank has no channel axis 1."""
    if node.op_type in ("Add", "Sub"):
        return True
    return node.op_type == "BatchNormalization" and rank(matmul.outputs[0]) != 2


def _into_reader(edit: Editor, node: ir.Node) -> bool:
    data, output = node.inputs[0], node.outputs[0]
    reader = sole_consumer(output)
    if data is None or reader is None or reader.inputs[0] is not output:
        return False
    if reader.op_type == "MatMul" and rank(output) != 2:
        return False
    count = input_channels(reader)
    affine = _batch_norm(node, Channels(1, 0, count)) if count is not None else None
    if affine is None or not fold_before(edit, reader, affine):
        return False
    reader.replace_input_with(0, data)
    remove_with_constants(node)
    return True


def _affine(node: ir.Node, index: int, channels: Channels) -> Affine | None:
    """What `node` does to its input `index`, if that is one map per channel."""
    if node.op_type == "BatchNormalization":
        return _batch_norm(node, Channels(1, 0, channels.count))
    numbers = channels.spread(models.constant(node.inputs[1 - index]))
    if numbers is None:
        return None
    ones, zeros = np.ones(channels.count), np.zeros(channels.count)
    match node.op_type, index:
        case "Mul", _:
            return Affine(numbers, zeros)
        case "Add", _:
            return Affine(ones, numbers)
        case "Sub", 0:
            return Affine(ones, -numbers)
        case "Sub", _:
            return Affine(-ones, numbers)
        case "Div", 0 if numbers.all():
            return Affine(1.0 / numbers, zeros)
    return None


def _batch_norm(node: ir.Node, vector: Channels) -> Affine | None:
    parts = [vector.spread(models.constant(value)) for value in node.inputs[1:5]]
    if len(parts) != 4 or any(part is None for part in parts):
        return None
    gamma, beta, mean, variance = (np.asarray(part) for part in parts)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    if (variance + epsilon <= 0).any():
        return None
    scale = gamma / np.sqrt(variance + epsilon)
    return Affine(scale, beta - mean * scale)
