"""First step: which nodes run as integers, and why the others stay float."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from knight import model as models, operators
from knight.planner._subject import Subject
from knight.recipe import FLOAT

NOT_SUPPORTED = "not in the chip's operator list"
NOT_WORTH = "no integer neighbours that make it pay"
_SOFTWARE = "a software layer of the chip"
_NO_CONSTANT_WEIGHT = "its weights or bias are computed in the graph"
_SUBGRAPH = "the bodies of If, Loop and Scan stay float"
_NOT_FLOAT32 = "its data is no float32 tensor of known type"
_LEAVES_RANGE = "makes values outside of its input's range"
_NOT_FINITE = "one of its constants is not finite"
_BORDER = "normalizes the integers of an input, which are rounded behind it"
_ODD_BIAS = "its bias is not one number per channel"


@dataclass(frozen=True)
class Nodes:
    """integer: run as integers. folded: the Relu and Clip among them that belong to their producer. reasons:
    of those that work on floats and stay so. needed: values that some integer operator reads, directly or
    through operators that keep the scale.
    """

    integer: frozenset[ir.Node]
    folded: frozenset[ir.Node]
    reasons: dict[ir.Node, str]
    needed: frozenset[ir.Value] = frozenset()

    def unfolded(self, node: ir.Node) -> ir.Node:
        """The operator that a folded Relu or Clip belongs to, else the node itself."""
        value = node.inputs[0] if node in self.folded else None
        producer = value.producer() if value is not None else None
        return producer if producer is not None else node

    def folds_into_reader(self, value: ir.Value) -> bool:
        """Whether `value` is one that a folded Relu or Clip reads."""
        return any(node in self.folded for node in value.consumers())


def choose_nodes(subject: Subject) -> Nodes:
    """The nodes that run as integers; of those that move values, all that could."""
    integer, reasons = set(), {}
    for node in subject.graph:
        if subject.is_cast(node):
            continue
        reason = _why_float(subject, node)
        if reason is None:
            integer.add(node)
        elif _touches_floats(node):  # arithmetic on shapes is neither
            reasons[node] = reason
    nodes = _with_folded(subject, integer, reasons)
    while True:  # what a follower needs may fall away with another follower
        kept, needed = _whose_result_is_needed(subject, nodes)
        kept = _whose_inputs_arrive(subject, nodes, kept)
        if kept == nodes.integer:
            return replace(nodes, needed=needed)
        reasons.update(dict.fromkeys(nodes.integer - kept, NOT_WORTH))
        nodes = _with_folded(subject, kept, reasons)


# What an operator is able to ------------------------------------------------------------------------------


def _touches_floats(node: ir.Node) -> bool:
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    shapes_only = all(value.dtype is not None and not value.dtype.is_floating_point() for value in values)
    return operators.has_subgraph(node) or (not shapes_only and node.op_type not in ("Shape", "Size"))


def _why_float(subject: Subject, node: ir.Node) -> str | None:
    target = subject.target
    if operators.has_subgraph(node):
        return _SUBGRAPH
    if node.name in subject.border.normalization:
        return _BORDER
    if node.op_type in target.software:
        return _SOFTWARE
    known = node.op_type in target.integer_operators or node.op_type in operators.BOUNDED
    if node.domain or not known:
        return NOT_SUPPORTED
    if subject.chosen[node].choice == FLOAT:
        return f"left in float by {subject.chosen[node].origin}"
    if not any(True for _ in operators.data_inputs(node)):
        return _NOT_FLOAT32
    if subject.moves(node) and not operators.keeps_range(node):
        return _LEAVES_RANGE
    return _why_constants_forbid(subject, node)


def _why_constants_forbid(subject: Subject, node: ir.Node) -> str | None:
    bias, weights = operators.bias(node), operators.roles(node).weights
    if bias is not None:
        array = models.constant(bias)
        if array is None:
            return _NO_CONSTANT_WEIGHT
        if array.size != operators.output_channels(node):
            return _ODD_BIAS
    if node.op_type == "MatMul":  # between two activations only where the target says that it pays
        constant = any(models.is_constant(value) for value in node.inputs)
        return None if constant or not subject.target.constant_matmul_only else NOT_WORTH
    if node.op_type in operators.NEEDS_CONSTANT_WEIGHT:
        fixed = all(models.is_constant(node.inputs[index]) for index in weights)
        return None if fixed else _NO_CONSTANT_WEIGHT
    operands = (models.constant(value) for _, value, _ in operators.constant_operands(node))
    finite = all(np.isfinite(array).all() for array in operands if array is not None)
    return None if finite else _NOT_FINITE


# What pays ------------------------------------------------------------------------------------------------


def _with_folded(
    subject: Subject, integer: set[ir.Node] | frozenset[ir.Node], reasons: dict[ir.Node, str]
) -> Nodes:
    """Finds the Relu and Clip whose producer is an integer operator of its own scale, read by nobody else."""
    folded: set[ir.Node] = set()
    outputs = {value.name for value in subject.graph.outputs}
    for node in subject.graph:  # in order: a Relu behind a folded Relu does not fold
        if node.op_type not in operators.BOUNDED or node not in integer or (value := node.inputs[0]) is None:
            continue
        producer = value.producer()
        if producer is None or producer not in integer or producer in folded:
            continue
        own_scale = not subject.moves(producer) and producer.op_type not in operators.BOUNDED
        if own_scale and value.name not in outputs and list(value.consumers()) == [node]:
            folded.add(node)
    return Nodes(frozenset(integer), frozenset(folded), reasons)


def _pays_by_itself(subject: Subject, nodes: Nodes, node: ir.Node) -> bool:
    """An operator that moves values costs nothing; whether it really runs as integers depends on its
    neighbours.
    """
    return node.op_type in subject.target.anchors or node in nodes.folded or subject.moves(node)


def _whose_result_is_needed(subject: Subject, nodes: Nodes) -> tuple[frozenset[ir.Node], frozenset[ir.Value]]:
    """The integer nodes less the followers that no integer operator reads; the values that one does read."""
    kept: set[ir.Node] = set()
    needed: set[ir.Value] = set()
    for node in reversed(subject.graph):
        if node not in nodes.integer:
            continue
        is_read = any(value in needed for value in node.outputs)
        if not is_read and not _pays_by_itself(subject, nodes, node):
            continue
        kept.add(node)
        if is_read or not (subject.moves(node) or node.op_type in operators.BOUNDED):
            needed.update(value for _, value in operators.data_inputs(node))
    return frozenset(kept), frozenset(needed)


def _whose_inputs_arrive(subject: Subject, nodes: Nodes, integer: frozenset[ir.Node]) -> frozenset[ir.Node]:
    """`integer` less the followers that no operator hands integers to."""
    kept: set[ir.Node] = set()
    arriving: set[ir.Value] = set()
    for node in subject.graph:
        if node not in integer:
            continue
        arrive = [value in arriving for _, value in operators.data_inputs(node)]
        if not any(arrive) and not _pays_by_itself(subject, nodes, node):
            continue
        kept.add(node)
        if nodes.unfolded(node).op_type in subject.target.float_result:
            continue  # it hands on floats just as well
        if node in nodes.folded or not subject.moves(node) or all(arrive):
            arriving.update(node.outputs)
    return frozenset(kept)
