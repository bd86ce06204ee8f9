"""Second step: which values get Q/DQ.

- What an integer operator reads is quantized, at the place where the value is made;
- what an integer operator makes is quantized, except where it can hand a float result to float readers;
- an operator that moves values runs as integers where its input comes as integers or its result is needed so.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import onnx_ir as ir

from knight import operators
from knight.planner._nodes import NOT_WORTH, Nodes
from knight.planner._subject import Subject


def choose_values(subject: Subject, nodes: Nodes) -> tuple[frozenset[ir.Value], Nodes]:
    """The quantized values, and the nodes less the moving ones that turn out to move floats."""
    quantized: set[ir.Value] = set()
    for node in subject.graph:
        if node in nodes.integer and not subject.moves(node):
            quantized.update(_around(subject, nodes, node))
    moving = [node for node in subject.graph if node in nodes.integer and subject.moves(node)]
    for node in reversed(moving):  # a needed result makes the input needed, back to where it is made
        if any(value in quantized for value in node.outputs):
            quantized.update(value for _, value in operators.data_inputs(node))
    integer, floats = set(nodes.integer), list[ir.Node]()
    for node in moving:
        sources = [value for _, value in operators.data_inputs(node)]
        needed = any(value in quantized for value in node.outputs)
        if all(value in quantized for value in sources) and (needed or _come(subject, integer, sources)):
            quantized.update(value for value in node.outputs if operators.is_float(value))
        else:
            floats.append(node)
            integer.discard(node)
    reasons = {**nodes.reasons, **dict.fromkeys(floats, NOT_WORTH)}
    return frozenset(quantized), replace(nodes, integer=frozenset(integer), reasons=reasons)


def _around(subject: Subject, nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    """What is quantized because `node` runs as integers."""
    fed = node in nodes.folded or subject.is_centring(node)  # by a value that is none, by the caller
    found = [] if fed else [value for _, value in operators.data_inputs(node)]
    for value in node.outputs:
        if not operators.is_float(value) or nodes.folds_into_reader(value):
            continue
        hands_on_floats = nodes.unfolded(node).op_type in subject.target.float_result
        if not hands_on_floats or value in nodes.needed:
            found.append(value)
    return found


def _come(subject: Subject, integer: Set[ir.Node], sources: Sequence[ir.Value]) -> bool:
    """Whether all `sources` come as integers: from an integer operator, or from the caller, who quantizes."""
    makers = [value.producer() for value in sources]
    return all(maker is None or maker in integer or subject.is_cast(maker) for maker in makers)
