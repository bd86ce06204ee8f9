"""What quantization needs to know of ONNX operators: which inputs are data, weights and bias.

Only facts of the ONNX operator specification stand here; what a chip can do is in its TOML file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models


@dataclass(frozen=True)
class Inputs:
    """Roles of an operator's inputs, by index.

    data: activations (None: every input). weights: constants that are quantized from their own numbers.
    channel_axis: output-channel axis of the weights, None for one scale per tensor. bias: int32 addend.
    """

    data: tuple[int, ...] | None = (0,)
    weights: tuple[int, ...] = ()
    channel_axis: int | None = None
    bias: int | None = None


_FIRST = Inputs()
_ALL = Inputs(data=None)
_RECURRENT = Inputs(weights=(1, 2))

INPUTS: dict[str, Inputs] = {
    "Conv": Inputs(weights=(1,), channel_axis=0, bias=2),
    "ConvTranspose": Inputs(weights=(1,), channel_axis=1, bias=2),
    "Gemm": Inputs(weights=(1,), channel_axis=1, bias=2),
    "MatMul": Inputs(data=(0, 1), weights=(0, 1), channel_axis=1),
    "PRelu": Inputs(weights=(1,)),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "Where": Inputs(data=(1, 2)),
    "ScatterND": Inputs(data=(0, 2)),
    "ScatterElements": Inputs(data=(0, 2)),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Concat"), _ALL),
}
"""Operators whose roles differ from the usual one (the first input is data, the others are parameters)."""

BOUNDED = frozenset({"Relu", "Clip"})
"""Operators that a saturating quantization does by itself: they fold into their producer's range."""

ACCUMULATES = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that sum products of their data (input 0) and weight (input 1) in an integer accumulator."""

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
"""Operators that answer differently each time: never folded, never merged."""

STANDARD = ("", "ai.onnx")
"""The two names of the domain of the standard operators."""

NEEDS_CONSTANT_WEIGHT = frozenset({"Conv", "ConvTranspose", "Gemm", "PRelu", "LSTM", "GRU", "RNN"})


def roles(node: ir.Node) -> Inputs:
    """The roles of this node's inputs."""
    return INPUTS.get(node.op_type, _FIRST)


def data_inputs(node: ir.Node) -> Iterator[tuple[int, ir.Value]]:
    """(index, value) of the float activations that `node` reads; constants are no activations."""
    wanted = roles(node).data
    for index, value in enumerate(node.inputs):
        if value is None or (wanted is not None and index not in wanted):
            continue
        if is_float(value) and not models.is_constant(value):
            yield index, value


def constant_operands(node: ir.Node) -> Iterator[tuple[int, ir.Value, int | None]]:
    """(index, value, channel axis) of the float constants that are quantized with `node`."""
    role = roles(node)
    wanted = role.weights or role.data
    for index, value in enumerate(node.inputs):
        if value is None or (wanted is not None and index not in wanted):
            continue
        if is_float(value) and models.is_constant(value):
            yield index, value, channel_axis(node, index)


def channel_axis(node: ir.Node, index: int) -> int | None:
    """Axis of the output channels of the weight at `index`, None where one scale must do."""
    axis = roles(node).channel_axis
    value = node.inputs[index]
    if axis is None or value is None or value.shape is None:
        return None
    if node.op_type == "Gemm":
        return 0 if models.attribute(node, "transB", 0) else 1
    if node.op_type == "MatMul":
        return 1 if index == 1 and len(value.shape) == 2 else None
    if node.op_type == "ConvTranspose" and models.attribute(node, "group", 1) != 1:
        return None  # axis 1 counts the channels inside a group: one scale would serve several channels
    return axis


def sum_axis(node: ir.Node) -> int:
    """Axis of the weights (input 1) that the products are summed over; of a Conv, its input channels."""
    if node.op_type in ("Gemm", "MatMul"):
        return 1 if models.attribute(node, "transB", 0) else 0
    return 0 if node.op_type == "ConvTranspose" else 1


def bias(node: ir.Node) -> ir.Value | None:
    """The bias input of `node`, if it has one."""
    index = roles(node).bias
    return node.inputs[index] if index is not None and index < len(node.inputs) else None


def output_channels(node: ir.Node) -> int | None:
    """Number of results that the bias of `node` is added to, None where the shapes do not tell."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    axis = roles(node).channel_axis
    if weight is None or weight.shape is None or axis is None:
        return None
    if node.op_type == "Gemm":
        axis = 0 if models.attribute(node, "transB", 0) else 1
    channels = weight.shape[axis]
    group = node.attributes.get_int("group", 1) if node.op_type == "ConvTranspose" else 1
    return channels * group if isinstance(channels, int) else None


def keeps_range(node: ir.Node) -> bool:
    """False for the forms of moving operators that make values outside of their input's range."""
    if node.op_type == "Pad":
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        number = models.constant(fill)
        return fill is None or (number is not None and not np.any(number))
    if node.op_type in ("Resize", "Upsample"):
        return models.attribute(node, "mode", "nearest") != "cubic"
    return True


def is_float(value: ir.Value) -> bool:
    """True for a float32 tensor, the type that is quantized."""
    return value.dtype == ir.DataType.FLOAT


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """True when `node` is one of the standard operators `op_types` (of any, when none is named)."""
    return node is not None and node.domain in STANDARD and (not op_types or node.op_type in op_types)


def has_subgraph(node: ir.Node) -> bool:
    """True for If, Loop, Scan and the like."""
    return any(True for _ in subgraphs(node))


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies that a control-flow node holds."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def all_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """`graph` and all bodies in it, outer ones first."""
    yield graph
    for node in graph:
        for body in subgraphs(node):
            yield from all_graphs(body)
