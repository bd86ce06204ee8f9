"""What integer operators read beside activations: weights, from their own numbers, and biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from knight import operators
from knight.names import Names
from knight.planner._nodes import Nodes
from knight.planner._subject import Subject
from knight.planner._widths import Tensors
from knight.types import Accumulator, Edge, QuantSpec, Weight


@dataclass(frozen=True)
class Constants:
    """As in `QuantPlan`."""

    weights: Mapping[str, Weight]
    reads: Mapping[Edge, str]


def constants_of(subject: Subject, nodes: Nodes, tensors: Tensors, *, reduce_range: bool) -> Constants:
    """The constants that integer operators read, each once per width.

    reduce_range: 8-bit weights lose a bit.
    """
    weights: dict[str, Weight] = {}
    reads: dict[Edge, str] = {}
    names = Names.of(subject.graph)
    keys: dict[tuple[str, int], str] = {}  # by constant and width; the first width has the constant's name
    for node in subject.graph:
        if node not in nodes.integer or subject.moves(node) or node.op_type in operators.BOUNDED:
            continue
        if subject.is_centring(node):
            continue
        for index, value, axis in operators.constant_operands(node):
            spec = _spec(subject, tensors, node, axis, reduce_range=reduce_range)
            name = value.name or ""
            if (name, spec.bits) not in keys:
                keys[name, spec.bits] = names.fresh(f"{name}_{spec.bits}bit") if name in weights else name
            key = keys[name, spec.bits]
            if key in weights and weights[key].spec != spec:
                spec = replace(spec, axis=None)  # readers that disagree on the channels: one scale
            weights[key] = Weight(name, spec)
            reads[node.name or "", index] = key
    return Constants(weights, reads)


def _spec(
    subject: Subject, tensors: Tensors, node: ir.Node, axis: int | None, *, reduce_range: bool
) -> QuantSpec:
    scheme = subject.scheme(tensors.choices[node])
    if not operators.roles(node).weights:  # the second operand of an elementwise operator
        return scheme.activation_spec()
    if scheme.weight_block_size is not None and axis is not None:
        axis = operators.sum_axis(node)
    return scheme.weight_spec(axis, scheme.weight_bits - int(reduce_range and scheme.weight_bits == 8))


def accumulators_of(
    subject: Subject, nodes: Nodes, tensors: Tensors, constants: Constants
) -> dict[str, Accumulator]:
    """Of the operators whose data and weight are both quantized, by node name."""
    found: dict[str, Accumulator] = {}
    for node in subject.graph:
        if node not in nodes.integer or node.op_type not in operators.ACCUMULATES:
            continue
        name, data = node.name or "", node.inputs[0]
        weight = constants.reads.get((name, 1))
        read = tensors.read(node, data) if data is not None else None
        # Blocks have a scale each, so that their sums have no unit in common.
        if read is not None and weight is not None and constants.weights[weight].spec.block_size is None:
            bias = operators.bias(node)
            found[name] = Accumulator(
                input=read,
                weight=weight,
                bias=bias.name if bias is not None else None,
                result=_result(nodes, tensors, node.outputs[0]),
            )
    return found


def _result(nodes: Nodes, tensors: Tensors, value: ir.Value) -> str | None:
    while nodes.folds_into_reader(value):
        value = next(iter(value.consumers())).outputs[0]
    return tensors.first(value)
